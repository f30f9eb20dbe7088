//! The cluster's certificate authority.
//!
//! # Theory of operation
//!
//! Only the host that made the cluster holds the CA's key. A host sends a signing request (PKCS #10), which proves that it
//! has a key. The CA certifies that key for the identity that the *cluster* knows, never for one that the request names.
//! Certificates are renewed. None is revoked by itself: whoever checks one also asks whether its host is a member.
//! A CA that is replaced certifies the key of its successor, so that who trusts the one comes to trust the other.

use std::net::IpAddr;
use std::time::Duration;

use agent_core::shared::IssuedRecord;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::parse_x509_certificate;

use crate::clock::{CLOCK_SKEW, now_s};
use crate::hex;
use crate::token::sha256;

/// A CA with its key.
pub(crate) struct Ca {
    certificate: String,
    name: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Host id first, then what else it may be called.
    pub(crate) names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A host has one name: tunnels take no certificate with several.
pub(crate) fn host_subject(host: &str, address: IpAddr) -> Subject {
    Subject {
        names: vec![host.to_owned()],
        addresses: vec![address],
    }
}

/// A certificate that was just signed.
pub(crate) struct Issued {
    /// PEM.
    pub(crate) certificate: String,
    pub(crate) serial: String,
    pub(crate) record: IssuedRecord,
}

/// Why the CA does not do it.
#[derive(Debug, thiserror::Error)]
pub enum UseCa {
    #[error("the CA cannot be used: {0}")]
    Unusable(String),
    #[error("the signing request is not valid: {0}")]
    Request(String),
}

impl Ca {
    /// A new one, and its key as PEM.
    pub(crate) fn create(cluster: &str) -> Result<(Self, String), UseCa> {
        let key = KeyPair::generate().map_err(unusable)?;
        let key_pem = key.serialize_pem();
        // A CA that is replaced has another name than its successor.
        let name = format!(
            "tapestry cluster {cluster} {}",
            hex::encode(&hex::random::<4>())
        );
        let certificate = ca_params(&name).self_signed(&key).map_err(unusable)?.pem();
        Ok((Self::load(certificate, &key_pem)?, key_pem))
    }

    pub(crate) fn load(certificate: String, key: &str) -> Result<Self, UseCa> {
        let key = KeyPair::from_pem(key).map_err(unusable)?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(unusable)?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(unusable)?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(unusable("its key is another one's"));
        }
        let mut names = parsed.subject().iter_common_name();
        let name = names.next().and_then(|name| name.as_str().ok());
        let name = name.unwrap_or_default().to_owned();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(unusable)?;
        Ok(Self {
            certificate,
            name,
            issuer,
        })
    }

    /// The key of `successor`, certified by this one.
    pub(crate) fn bridge_to(&self, successor: &Self) -> Result<String, UseCa> {
        let mut params = ca_params(&successor.name);
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(successor.issuer.key(), &self.issuer);
        Ok(signed.map_err(unusable)?.pem())
    }

    /// Its key, PEM.
    pub(crate) fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Certifies for `subject` the key of the request, whatever else the request says.
    pub(crate) fn sign(
        &self,
        request: &str,
        subject: &Subject,
        lifetime: Duration,
    ) -> Result<Issued, UseCa> {
        let refused = |error: rcgen::Error| UseCa::Request(error.to_string());
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(refused)?;
        // Positive, and of full length (RFC 5280 §4.1.2.2).
        let mut serial: [u8; 16] = hex::random();
        serial[0] = serial[0] & 0x7f | 0x40;
        request.params = leaf(subject, serial, lifetime).map_err(refused)?;
        let certificate = request.signed_by(&self.issuer).map_err(unusable)?;
        Ok(Issued {
            certificate: certificate.pem(),
            serial: hex::encode(&serial),
            record: IssuedRecord {
                issued_s: now_s(),
                sha256: hex::encode(&sha256(certificate.der())),
            },
        })
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(BRIDGES_MAX));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - CLOCK_SKEW, now + CA_LIFETIME);
    params
}

/// By what hosts tell each other of CAs: the first 16 digits of the hash.
pub(crate) fn digits_of(certificate: &str) -> Result<String, UseCa> {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(unusable)?;
    Ok(digits(&der))
}

pub(crate) fn digits(certificate: &CertificateDer<'_>) -> String {
    hex::encode(&sha256(certificate)[..8])
}

/// What a token pins: SHA-256 of the CA's certificate, the first one where there are several.
pub(crate) fn ca_hash(certificate: &str) -> Result<[u8; 32], UseCa> {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(unusable)?;
    Ok(sha256(&der))
}

fn leaf(
    subject: &Subject,
    serial: [u8; 16],
    lifetime: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(subject.names.clone())?;
    let addresses = subject.addresses.iter().copied().map(SanType::IpAddress);
    params.subject_alt_names.extend(addresses);
    params.distinguished_name = common_name(subject.names.first().map_or("", String::as_str));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A host is both sides of a tunnel, and etcd's own gateway is a client of etcd.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - CLOCK_SKEW, now + lifetime);
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn unusable(error: impl std::fmt::Display) -> UseCa {
    UseCa::Unusable(error.to_string())
}

/// Only what managers serve under has this name. The word is of when there was one manager.
pub(crate) const MANAGER_NAME: &str = "signer.tapestry";
/// Only the certificate of a managed etcd has this name.
pub(crate) const ETCD_NAME: &str = "etcd.tapestry";
/// As many CAs may follow each other before the first of them is forgotten.
const BRIDGES_MAX: u8 = 4;
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
