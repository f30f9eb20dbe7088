//! The CA that signs, and those before it: what a manager certifies with, and whom it lets in.

use std::time::Duration;

use agent_core::shared::{CaRecord, RENEWABLE_S};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

use crate::ca::{Ca, Issued, Subject, UseCa, digits_of};
use crate::clock::now_s;
use crate::error::UseCluster;
use crate::files::{CA_CERTIFICATE, CA_KEY, CA_RECORD, Files, next_key_of};
use crate::identity::{Identity, certificates};
use crate::trust::{Shown, Standing, is_signed_by};

/// A CA with its key, and its place among the cluster's CAs.
pub(crate) struct Authority {
    ca: Ca,
    record: CaRecord,
}

impl Authority {
    pub(crate) fn new(ca: Ca, record: CaRecord) -> Self {
        Self { ca, record }
    }

    /// From what is on disk. An agent that was killed while it took up a new CA may have left a key that does not fit.
    pub(crate) fn load(files: &Files) -> Result<Self, UseCluster> {
        let record = match files.read(CA_RECORD)? {
            Some(text) => {
                serde_json::from_str(&text).map_err(|error| files.garbled(CA_RECORD, error))?
            }
            None => CaRecord::new(files.read_needed(CA_CERTIFICATE)?),
        };
        let key = signing_key(files, &record.certificate)?;
        let ca = Ca::load(record.certificate.clone(), &key)?;
        Ok(Self { ca, record })
    }

    pub(crate) fn record(&self) -> &CaRecord {
        &self.record
    }

    pub(crate) fn ca(&self) -> &Ca {
        &self.ca
    }

    /// What a host keeps as `ca.pem`.
    pub(crate) fn bundle(&self) -> String {
        self.record.trusted().collect()
    }

    /// Certifies the key of the request. The certificate comes with the bridges to the CA that signed it.
    pub(crate) fn certify(
        &self,
        request: &str,
        subject: &Subject,
        lifetime: Duration,
    ) -> Result<Issued, UseCa> {
        let issued = self.ca.sign(request, subject, lifetime)?;
        let bridges = self.record.bridges(now_s()).collect::<String>();
        Ok(Issued {
            certificate: issued.certificate + &bridges,
            ..issued
        })
    }

    pub(crate) fn standing(&self, shown: &Shown, now_s: u64) -> Standing {
        let is_trusted = self.record.trusted().any(|ca| {
            certificates(ca)
                .is_ok_and(|cas| cas.iter().any(|ca| is_signed_by(&shown.certificate, ca)))
        });
        if is_trusted && shown.is_good_at(now_s) {
            Standing::Good
        } else if now_s < shown.until_s.saturating_add(RENEWABLE_S) {
            Standing::Renewable
        } else {
            Standing::Over
        }
    }

    /// For the endpoint that admits hosts and renews certificates. It shows former CAs too: by that, a host learns that its
    /// token is from before a rotation.
    pub(crate) fn server_config(&self, service: Identity) -> Result<ServerConfig, UseCluster> {
        let renewable: String = self.record.renewable(now_s()).collect();
        let clients: Vec<CertificateDer<'static>> = certificates(&renewable)?;
        let service = Identity {
            ca: renewable,
            ..service
        };
        Ok(service.server_config(&clients)?)
    }
}

/// The file with the key of a CA that is to sign next.
pub(crate) fn next_key(certificate: &str) -> Result<String, UseCa> {
    Ok(next_key_of(&digits_of(certificate)?))
}

/// The key of a CA, from the file where it waits to sign or from that of the one that signs. An error where it is neither.
pub(crate) fn signing_key(files: &Files, certificate: &str) -> Result<String, UseCluster> {
    let key = match files.read(&next_key(certificate)?)? {
        Some(key) => key,
        None => files.read_needed(CA_KEY)?,
    };
    Ca::load(certificate.to_owned(), &key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::host_subject;
    use crate::identity::Candidate;

    fn shown(ca: &Ca) -> Shown {
        let request = Candidate::new().unwrap().request;
        let subject = host_subject("0a0b", [192, 0, 2, 1].into());
        let issued = ca
            .sign(&request, &subject, Duration::from_secs(60))
            .unwrap();
        Shown::read(&certificates(&issued.certificate).unwrap()[0]).unwrap()
    }

    fn record_of(ca: &Ca) -> CaRecord {
        CaRecord::new(ca.certificate().to_owned())
    }

    #[test]
    fn what_has_ended_is_renewable_for_90_days() {
        let (ca, _) = Ca::create("c").unwrap();
        let (record, shown) = (record_of(&ca), shown(&ca));
        let authority = Authority::new(ca, record);
        let end_s = shown.until_s;
        for (now_s, standing) in [
            (shown.from_s - 1, Standing::Renewable),
            (shown.from_s, Standing::Good),
            (end_s - 1, Standing::Good),
            (end_s, Standing::Renewable),
            (end_s + RENEWABLE_S - 1, Standing::Renewable),
            (end_s + RENEWABLE_S, Standing::Over),
        ] {
            assert_eq!(authority.standing(&shown, now_s), standing, "{now_s}");
        }
    }

    #[test]
    fn a_former_cas_certificate_is_good_until_the_rotation_is_over() {
        let ((old, _), (new, _)) = (Ca::create("c").unwrap(), Ca::create("c").unwrap());
        let (of_old, of_new) = (shown(&old), shown(&new));
        let now_s = now_s();
        let bridge = old.bridge_to(&new).unwrap();
        let begun = record_of(&old).begun(new.certificate().to_owned(), bridge, now_s);
        let both = Authority::new(new, begun.unwrap());
        assert_eq!(both.standing(&of_old, now_s), Standing::Good);
        assert_eq!(both.standing(&of_new, now_s), Standing::Good);
        let record = both.record.finished(now_s).unwrap();
        let finished = Authority { record, ..both };
        assert_eq!(finished.standing(&of_old, now_s), Standing::Renewable);
        assert_eq!(finished.standing(&of_new, now_s), Standing::Good);
    }

    #[test]
    fn an_authority_is_loaded_with_the_key_that_fits() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path());
        let ((old, old_key), (new, new_key)) = (Ca::create("c").unwrap(), Ca::create("c").unwrap());
        files.write(CA_CERTIFICATE, old.certificate()).unwrap();
        files.write(CA_KEY, &old_key).unwrap();
        assert_eq!(*Authority::load(&files).unwrap().record(), record_of(&old));
        // Killed after the record of the new CA was written, and before its key was.
        let record = serde_json::to_string(&record_of(&new)).unwrap();
        files
            .write(&next_key(new.certificate()).unwrap(), &new_key)
            .unwrap();
        files.write(CA_RECORD, &record).unwrap();
        assert_eq!(*Authority::load(&files).unwrap().record(), record_of(&new));
        files.forget(&next_key(new.certificate()).unwrap());
        assert!(Authority::load(&files).is_err());
    }
}
