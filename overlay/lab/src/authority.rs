//! A certificate authority, and hosts with its certificates.

use std::net::SocketAddr;

use overlay_core::{Epoch, Timing};
use overlay_io::{Credentials, QuicConfig};
use rustls::pki_types::{CertificateRevocationListDer, PrivateKeyDer};

use crate::host;

/// A certificate authority.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate,
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    /// Credentials of host `name`, which `change` may spoil.
    pub fn host(
        &self,
        name: &str,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Credentials {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serial_number = Some(serial(name));
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credentials {
            roots: vec![self.certificate.der().clone()],
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            revoked: Vec::new(),
            key_log: std::env::var_os("SSLKEYLOGFILE").is_some(),
        }
    }

    /// A list that revokes the certificates of host `name`.
    pub fn revoke(&self, name: &str) -> CertificateRevocationListDer<'static> {
        let (then, later) = (
            rcgen::date_time_ymd(2020, 1, 1),
            rcgen::date_time_ymd(2200, 1, 1),
        );
        let list = rcgen::CertificateRevocationListParams {
            this_update: then,
            next_update: later,
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![rcgen::RevokedCertParams {
                serial_number: serial(name),
                revocation_time: then,
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().clone()
    }
}

fn serial(name: &str) -> rcgen::SerialNumber {
    name.as_bytes().to_vec().into()
}

pub fn quic_config(name: &str, local: SocketAddr, credentials: Credentials) -> QuicConfig {
    QuicConfig {
        local,
        host: host(name),
        epoch: Epoch(1),
        credentials,
        reset_key: [name.as_bytes()[0]; 32],
        udp_payload_max: 1472,
        timing: Timing::default(),
        seed: u64::from(name.as_bytes()[0]),
        relays: true,
    }
}
