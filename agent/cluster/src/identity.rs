//! Who this host is in its cluster: a key, a certificate, and the CA that signed it.

use std::fmt;
use std::sync::Arc;

use agent_core::shared::CertificateShared;
use overlay_io::Credentials;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use x509_parser::parse_x509_certificate;

use crate::ca::digits;
use crate::trust::{AnyDate, ClientsOfAnyDate, PinnedCa, Seen, Shown, crypto, is_signed_by, roots};

/// All as PEM. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Lower-case hexadecimal digits; the certificate's first name.
    pub host: String,
    /// Those that are trusted: the one that signs, and for a time the one before it.
    pub ca: String,
    /// The certificate, then what leads from former CAs to the one that signed it.
    pub certificate: String,
    pub key: String,
}

/// A key that waits for its certificate.
pub(crate) struct Candidate {
    pub(crate) key: String,
    /// The signing request, PEM. It names nobody: the CA knows whom it signs for.
    pub(crate) request: String,
}

/// Why an identity is of no use.
#[derive(Debug, thiserror::Error)]
pub enum UseIdentity {
    #[error("this host's key or certificate cannot be used: {0}")]
    Unusable(String),
}

impl Candidate {
    pub(crate) fn new() -> Result<Self, UseIdentity> {
        let key = KeyPair::generate().map_err(unusable)?;
        let request = CertificateParams::default()
            .serialize_request(&key)
            .and_then(|request| request.pem())
            .map_err(unusable)?;
        Ok(Self {
            key: key.serialize_pem(),
            request,
        })
    }
}

impl Identity {
    /// When the certificate begins and ends, in seconds since 1970.
    pub(crate) fn validity_s(&self) -> Result<(u64, u64), UseIdentity> {
        let shown = self.shown()?;
        Ok((shown.from_s, shown.until_s))
    }

    /// As others see it.
    pub(crate) fn shown(&self) -> Result<Shown, UseIdentity> {
        let chain = certificates(&self.certificate)?;
        let shown = chain.first().and_then(Shown::read);
        shown.ok_or_else(|| unusable("it names no host"))
    }

    /// What this host tells of its certificate.
    pub(crate) fn shared(&self) -> Option<CertificateShared> {
        let shown = self.shown().ok()?;
        let cas = certificates(&self.ca).ok()?;
        let ca = cas.iter().find(|ca| is_signed_by(&shown.certificate, ca))?;
        Some(CertificateShared {
            until_s: shown.until_s,
            ca: digits(ca),
        })
    }

    /// For the endpoint that admits hosts: a client shows a certificate of one of these CAs, or none at all. What it may do with
    /// it, the dates in it say.
    pub(crate) fn server_config(
        &self,
        clients: &[CertificateDer<'static>],
    ) -> Result<ServerConfig, UseIdentity> {
        let clients = ClientsOfAnyDate::new(roots(clients).map_err(unusable)?);
        let (chain, key) = self.chain()?;
        let mut config = ServerConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(Arc::new(clients.map_err(unusable)?))
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// For asking that endpoint as a member.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, UseIdentity> {
        let (chain, key) = self.chain()?;
        let mut config = ClientConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_webpki_verifier(self.servers()?)
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// The same for one question, which notes what is wrong with the dates of the answering side.
    pub(crate) fn asking(&self) -> Result<Asking, UseIdentity> {
        let (seen, mut config) = (Arc::<Seen>::default(), self.client_config()?);
        let servers = AnyDate {
            strict: self.servers()?,
            seen: Arc::clone(&seen),
        };
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(servers));
        Ok(Asking { config, seen })
    }

    fn servers(&self) -> Result<Arc<WebPkiServerVerifier>, UseIdentity> {
        let roots = roots(&certificates(&self.ca)?).map_err(unusable)?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, crypto());
        servers.build().map_err(unusable)
    }

    /// For tunnels: certificates of the cluster, and nobody else's.
    pub fn credentials(&self) -> Result<Credentials, UseIdentity> {
        Ok(Credentials {
            roots: certificates(&self.ca)?,
            chain: certificates(&self.certificate)?,
            key: PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(unusable)?,
            // A revoked host is no peer any more, so its certificate is never looked at.
            revoked: Vec::new(),
            key_log: std::env::var_os(KEY_LOG).is_some(),
        })
    }

    /// The certificate and the CAs'. A host that joins knows the CA's by its hash.
    fn chain(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), UseIdentity> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(unusable)?;
        let mut chain = certificates(&self.certificate)?;
        chain.extend(certificates(&self.ca)?);
        Ok((chain, key))
    }
}

/// How one question is asked.
pub(crate) struct Asking {
    pub(crate) config: ClientConfig,
    pub(crate) seen: Arc<Seen>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.host)
    }
}

/// For asking that endpoint before this host has a certificate. It believes whoever shows a certificate of the CA with that
/// hash.
pub(crate) fn pinned_asking(ca_hash: [u8; 32]) -> Result<Asking, UseIdentity> {
    let seen = Arc::<Seen>::default();
    let pinned = PinnedCa {
        ca_hash,
        seen: Arc::clone(&seen),
    };
    let servers = AnyDate {
        strict: Arc::new(pinned),
        seen: Arc::clone(&seen),
    };
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(servers))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Asking { config, seen })
}

/// When a certificate ends, in seconds since 1970.
pub fn certificate_end_s(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

/// All that are in a PEM text.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, UseIdentity> {
    let all = CertificateDer::pem_slice_iter(text.as_bytes());
    all.collect::<Result<_, pem::Error>>().map_err(unusable)
}

fn unusable(error: impl fmt::Display) -> UseIdentity {
    UseIdentity::Unusable(error.to_string())
}

/// The variable that names the file for session keys, as in every TLS program.
pub const KEY_LOG: &str = "SSLKEYLOGFILE";
const ALPN: &[u8] = b"tapestry-join/2";
