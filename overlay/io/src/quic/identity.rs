//! Who a host is: certificates, and the TLS configurations made of them.
//!
//! # Theory of operation
//!
//! Both ends show a certificate of the cluster's CA whose one DNS name is the host's. The dialing host checks the name as
//! TLS does; the other reads it and looks the host up. TLS 1.3 only, own ALPN. Sessions are never resumed, since a resumed
//! session proves nothing anew: a revoked host would come back with it; and so there is no 0-RTT.

use std::sync::Arc;

use overlay_core::HostId;
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, KeyLogFile, RootCertStore, ServerConfig};

use super::sealing;

/// What this host shows, and whom it trusts.
#[derive(Debug)]
pub struct Credentials {
    /// Certificates of the cluster's CA; two while it is replaced.
    pub roots: Vec<CertificateDer<'static>>,
    /// This host's certificate, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// Revocation lists of the CA.
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
    /// Write the keys of sessions to the file that `SSLKEYLOGFILE` names, for tshark.
    pub key_log: bool,
}

/// Why credentials are of no use.
#[derive(Debug, thiserror::Error)]
pub enum UseCredentials {
    #[error("a root certificate or the host's own key is not usable: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no verifier can be made of the roots and revocation lists: {0}")]
    Verifier(#[from] VerifierBuilderError),
    #[error("the cryptography lacks a suite that QUIC needs: {0}")]
    Suite(#[from] NoInitialCipherSuite),
}

/// Credentials as quinn takes them.
pub(super) struct Tls {
    pub(super) client: Arc<QuicClientConfig>,
    pub(super) server: Arc<QuicServerConfig>,
}

impl Tls {
    pub(super) fn new(credentials: Credentials) -> Result<Self, UseCredentials> {
        let provider = Arc::new(provider());
        let mut roots = RootCertStore::empty();
        for root in credentials.roots {
            roots.add(root)?;
        }
        let roots = Arc::new(roots);
        let servers =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .with_crls(credentials.revoked.iter().cloned())
                .build()?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .with_crls(credentials.revoked)
            .build()?;
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_webpki_verifier(servers)
            .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(credentials.chain, credentials.key)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        if credentials.key_log {
            client.key_log = Arc::new(KeyLogFile::new());
            server.key_log = Arc::new(KeyLogFile::new());
        }
        Ok(Self {
            client: Arc::new(client.try_into()?),
            server: Arc::new(server.try_into()?),
        })
    }
}

/// The host that a verified chain names; `None` when it names none, or several.
pub(super) fn host_of(chain: &[CertificateDer<'_>]) -> Option<HostId> {
    let certificate = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
    let mut names = certificate.valid_dns_names();
    let name = names.next()?;
    match names.next() {
        Some(_) => None,
        None => HostId::new(name).ok(),
    }
}

/// AES-128-GCM before the rest: on machines with AES instructions nothing else is as fast.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            sealing::aes_128_gcm(),
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

const ALPN: &[u8] = b"tapestry/1";
