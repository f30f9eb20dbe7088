//! Who this host is in its cluster: a key, a certificate, and the CA that signed it.

use std::fmt;
use std::sync::Arc;

use overlay_io::Credentials;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::token::sha256;

/// All as PEM. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Lower-case hexadecimal digits; the certificate's first name.
    pub host: String,
    pub ca: String,
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
        let der = certificate(&self.certificate)?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(unusable)?;
        let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
        let validity = parsed.validity();
        Ok((
            seconds(validity.not_before.timestamp()),
            seconds(validity.not_after.timestamp()),
        ))
    }

    /// For the endpoint that admits hosts: a client shows a certificate of the cluster, or none at all.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, UseIdentity> {
        let roots = Arc::new(self.roots()?);
        let clients = WebPkiClientVerifier::builder_with_provider(roots, crypto())
            .allow_unauthenticated()
            .build()
            .map_err(unusable)?;
        let (chain, key) = self.chain()?;
        let mut config = ServerConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(clients)
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
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// For tunnels: certificates of the cluster, and nobody else's.
    pub fn credentials(&self) -> Result<Credentials, UseIdentity> {
        let (mut chain, key) = self.chain()?;
        chain.truncate(1);
        Ok(Credentials {
            roots: vec![certificate(&self.ca)?],
            chain,
            key,
            // A revoked host is no peer any more, so its certificate is never looked at.
            revoked: Vec::new(),
            key_log: std::env::var_os(KEY_LOG).is_some(),
        })
    }

    fn roots(&self) -> Result<RootCertStore, UseIdentity> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.ca)?).map_err(unusable)?;
        Ok(roots)
    }

    /// The certificate and the CA's. A host that joins knows the CA's by its hash.
    fn chain(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), UseIdentity> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(unusable)?;
        let chain = vec![certificate(&self.certificate)?, certificate(&self.ca)?];
        Ok((chain, key))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.host)
    }
}

/// For asking that endpoint before this host has a certificate. It believes whoever shows a certificate of the CA with that
/// hash.
pub(crate) fn pinned_client_config(ca_hash: [u8; 32]) -> Result<ClientConfig, UseIdentity> {
    let pinned = PinnedCa { ca_hash };
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// The first DNS name of a peer's certificate: a host id, as only our CA writes it.
pub(crate) fn host_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
}

/// When a certificate ends, in seconds since 1970.
pub fn certificate_end_s(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

/// Takes the CA with the hash as root, wherever it stands in the chain, and then verifies as usual.
#[derive(Debug)]
struct PinnedCa {
    ca_hash: [u8; 32],
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_pinned = |der: &&CertificateDer<'_>| sha256(der) == self.ca_hash;
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let ca = intermediates.iter().find(is_pinned).ok_or(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto())
            .build()
            .map_err(|error: VerifierBuilderError| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &crypto().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &crypto().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(provider::default_provider())
}

fn certificate(text: &str) -> Result<CertificateDer<'static>, UseIdentity> {
    CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error: pem::Error| unusable(error))
}

fn unusable(error: impl fmt::Display) -> UseIdentity {
    UseIdentity::Unusable(error.to_string())
}

/// The variable that names the file for session keys, as in every TLS program.
pub const KEY_LOG: &str = "SSLKEYLOGFILE";
const ALPN: &[u8] = b"tapestry-join/1";
