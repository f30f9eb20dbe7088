//! Whom either side of a connection believes, and what becomes of a certificate whose time is not now.
//!
//! # Theory of operation
//!
//! A handshake that fails for a date says nothing about whose clock is wrong. So neither side lets it fail for that. The
//! manager takes every certificate of its CAs, reads when it is good ([`Shown`]), and lets one that is not good now be renewed
//! and nothing else. A client that finds the manager's certificate not good now notes that ([`Seen`]) and then asks what time
//! it is there, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::hex;
use crate::token::sha256;

/// A certificate that the other side has proved to have, and that a CA of the cluster has signed at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its first DNS name: a host id, as only our CA writes it.
    pub(crate) host: String,
    pub(crate) from_s: u64,
    pub(crate) until_s: u64,
    pub(crate) serial: String,
    pub(crate) certificate: CertificateDer<'static>,
}

/// What a certificate that was shown is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Everything.
    Good,
    /// To be renewed, and nothing else: it has ended, has not begun, or is of a former CA.
    Renewable,
    /// Nothing: it ended too long ago.
    Over,
}

impl Shown {
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        let mut names = names.value.general_names.iter();
        let host = names.find_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })?;
        let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
        let validity = parsed.validity();
        Some(Self {
            host,
            from_s: seconds(validity.not_before.timestamp()),
            until_s: seconds(validity.not_after.timestamp()),
            serial: hex::encode(parsed.raw_serial()),
            certificate: certificate.clone().into_owned(),
        })
    }

    pub(crate) fn is_good_at(&self, now_s: u64) -> bool {
        (self.from_s..self.until_s).contains(&now_s)
    }
}

/// Whether `ca` itself, and no CA that it certified, has signed the certificate. Our CAs sign with ECDSA P-256 and SHA-256.
pub(crate) fn is_signed_by(certificate: &CertificateDer<'_>, ca: &CertificateDer<'_>) -> bool {
    let parsed = (
        parse_x509_certificate(certificate),
        parse_x509_certificate(ca),
    );
    let (Ok((_, certificate)), Ok((_, ca))) = parsed else {
        return false;
    };
    let key = &ca.public_key().subject_public_key.data;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
    let signature = &certificate.signature_value.data;
    certificate.issuer() == ca.subject()
        && key
            .verify(certificate.tbs_certificate.as_ref(), signature)
            .is_ok()
}

/// Whether `bridge` certifies, in the name of `from`, the key of `to` as a CA's.
pub(crate) fn is_bridge(
    bridge: &CertificateDer<'_>,
    from: &CertificateDer<'_>,
    to: &CertificateDer<'_>,
) -> bool {
    let parsed = (parse_x509_certificate(bridge), parse_x509_certificate(to));
    let (Ok((_, crossing)), Ok((_, to))) = parsed else {
        return false;
    };
    crossing.is_ca()
        && crossing.subject() == to.subject()
        && crossing.public_key().raw == to.public_key().raw
        && is_signed_by(bridge, from)
}

/// What a client saw of the manager before it said anything.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    out_of_date: AtomicBool,
    rotated: AtomicBool,
}

impl Seen {
    /// The manager's certificate is over by this host's clock, or has not begun.
    pub(crate) fn is_out_of_date(&self) -> bool {
        self.out_of_date.load(Ordering::Relaxed)
    }

    /// The manager knows the CA that this host looks for, as one from before.
    pub(crate) fn is_rotated(&self) -> bool {
        self.rotated.load(Ordering::Relaxed)
    }
}

/// Verifies as `strict` does, and notes where nothing but the date is wrong.
#[derive(Debug)]
pub(crate) struct AnyDate {
    pub(crate) strict: Arc<dyn ServerCertVerifier>,
    pub(crate) seen: Arc<Seen>,
}

impl ServerCertVerifier for AnyDate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |at| {
            self.strict
                .verify_server_cert(end_entity, intermediates, name, ocsp_response, at)
        };
        match verify(now) {
            Err(error) if is_about_dates(&error) => {
                let verified = verify(within_validity(end_entity, now))?;
                self.seen.out_of_date.store(true, Ordering::Relaxed);
                Ok(verified)
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

/// Takes the CA with the hash as root, wherever it stands in the chain, and then verifies as usual.
#[derive(Debug)]
pub(crate) struct PinnedCa {
    pub(crate) ca_hash: [u8; 32],
    pub(crate) seen: Arc<Seen>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_pinned = |der: &&CertificateDer<'_>| sha256(der) == self.ca_hash;
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let ca = intermediates.iter().find(is_pinned).ok_or(unknown)?;
        // Whoever the CA has certified as its successor does not count: a token is good for one CA.
        if !is_signed_by(end_entity, ca) {
            self.seen.rotated.store(true, Ordering::Relaxed);
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots([ca])?, crypto())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], name, ocsp_response, now)
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

/// Takes clients without a certificate, and those with one of the roots, whatever its dates.
#[derive(Debug)]
pub(crate) struct ClientsOfAnyDate {
    strict: Arc<dyn ClientCertVerifier>,
}

impl ClientsOfAnyDate {
    pub(crate) fn new(roots: Arc<RootCertStore>) -> Result<Self, Error> {
        let strict = WebPkiClientVerifier::builder_with_provider(roots, crypto())
            .allow_unauthenticated()
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { strict })
    }
}

impl ClientCertVerifier for ClientsOfAnyDate {
    fn client_auth_mandatory(&self) -> bool {
        self.strict.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let at = within_validity(end_entity, now);
        self.strict
            .verify_client_cert(end_entity, intermediates, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

pub(crate) fn roots<'a>(
    cas: impl IntoIterator<Item = &'a CertificateDer<'a>>,
) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca.clone().into_owned())?;
    }
    Ok(Arc::new(roots))
}

pub(crate) fn crypto() -> Arc<CryptoProvider> {
    Arc::new(provider::default_provider())
}

/// The time nearest to `now` at which the certificate is good; `now` where it cannot be read.
fn within_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
        return now;
    };
    let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
    let validity = parsed.validity();
    let (from_s, until_s) = (
        seconds(validity.not_before.timestamp()),
        seconds(validity.not_after.timestamp()),
    );
    let at_s = now.as_secs().min(until_s).max(from_s);
    UnixTime::since_unix_epoch(Duration::from_secs(at_s))
}

fn is_about_dates(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::ca::{Ca, host_subject};
    use crate::identity::Candidate;

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    fn leaf(ca: &Ca) -> CertificateDer<'static> {
        let (subject, request) = (
            host_subject("0a0b", [192, 0, 2, 1].into()),
            Candidate::new().unwrap().request,
        );
        let issued = ca.sign(&request, &subject, Duration::from_secs(60));
        der(&issued.unwrap().certificate)
    }

    #[test]
    fn a_certificate_is_of_the_ca_that_signed_it_and_not_of_one_that_says_so() {
        let ((one, _), (other, _)) = (Ca::create("c").unwrap(), Ca::create("c").unwrap());
        let (one_der, other_der) = (der(one.certificate()), der(other.certificate()));
        let of_one = leaf(&one);
        assert!(is_signed_by(&of_one, &one_der));
        assert!(!is_signed_by(&of_one, &other_der));
        let mut changed = of_one.to_vec();
        // The last byte of the signature.
        *changed.last_mut().unwrap() ^= 1;
        assert!(!is_signed_by(&changed.into(), &one_der));
    }

    #[test]
    fn a_bridge_leads_from_one_ca_to_one_other() {
        let ((old, _), (new, _)) = (Ca::create("c").unwrap(), Ca::create("c").unwrap());
        let bridge = der(&old.bridge_to(&new).unwrap());
        let (old_der, new_der) = (der(old.certificate()), der(new.certificate()));
        assert!(is_bridge(&bridge, &old_der, &new_der));
        assert!(!is_bridge(&bridge, &new_der, &old_der));
        assert!(!is_bridge(&bridge, &old_der, &old_der));
        assert!(!is_bridge(&leaf(&old), &old_der, &new_der));
        let (third, _) = Ca::create("c").unwrap();
        let forged = der(&third.bridge_to(&new).unwrap());
        assert!(!is_bridge(&forged, &old_der, &new_der));
    }

    #[test]
    fn a_certificate_is_good_from_its_first_second_to_its_last() {
        let (ca, _) = Ca::create("c").unwrap();
        let shown = Shown::read(&leaf(&ca)).unwrap();
        assert_eq!(shown.host, "0a0b");
        assert!(shown.is_good_at(shown.from_s) && shown.is_good_at(shown.until_s - 1));
        assert!(!shown.is_good_at(shown.from_s - 1) && !shown.is_good_at(shown.until_s));
    }
}
