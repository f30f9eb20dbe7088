//! Certificates that a manager signs for itself, and how they come on the cluster's record.
//!
//! # Theory of operation
//!
//! A manager asks nobody for its own certificates, and signs them also when it was off for long and the store is not there
//! yet. It notes each in a file before it uses it, and puts what is noted on record as soon as it is in step. So every
//! certificate of the CA comes on record, those under which it serves too, and goes with its host.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use agent_core::shared::{ISSUED, IssuedRecord, RENEWABLE_S};
use agent_store::{Change, Expected, Store, StoreError};

use crate::authority::Authority;
use crate::ca::{ETCD_NAME, Issued, MANAGER_NAME, Subject};
use crate::clock::CLOCK_SKEW;
use crate::error::UseCluster;
use crate::files::{Files, SERVICE_CERTIFICATE, SERVICE_KEY, UNRECORDED, UseFile};
use crate::identity::Candidate;
use crate::lock::lock;

/// What a manager has signed for itself and not put on record.
pub(crate) struct Unrecorded {
    files: Files,
    host: String,
    /// Held while the file is changed.
    turn: Mutex<()>,
}

impl Unrecorded {
    pub(crate) fn new(files: &Files, host: &str) -> Self {
        Self {
            files: files.clone(),
            host: host.to_owned(),
            turn: Mutex::default(),
        }
    }

    fn note(&self, issued: &Issued) -> Result<(), UseFile> {
        let _turn = lock(&self.turn);
        let mut noted = self.noted();
        noted.push((issued.serial.clone(), issued.record.clone()));
        // A manager that never comes in step renews all the same; the last ones count.
        let excess = noted.len().saturating_sub(NOTED_MAX);
        noted.drain(..excess);
        self.files.write_json(UNRECORDED, &noted)
    }

    /// Puts on record what is noted, as long as it may be renewed.
    pub(crate) fn put(&self, store: &dyn Store, lifetime: Duration) -> Result<(), StoreError> {
        let _turn = lock(&self.turn);
        let noted = self.noted();
        if noted.is_empty() {
            return Ok(());
        }
        let lease = store.grant(on_record(lifetime))?;
        let changes: Result<Vec<_>, _> = noted
            .iter()
            .map(|(serial, record)| {
                let key = format!("{ISSUED}{}/{serial}", self.host);
                Ok(Change::encode(key, record, Expected::Anything)?.under(lease))
            })
            .collect();
        store.transact(&changes?)?;
        self.files.forget(UNRECORDED);
        Ok(())
    }

    fn noted(&self) -> Vec<(String, IssuedRecord)> {
        let text = self.files.read_needed(UNRECORDED).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }
}

/// What a manager signs for itself with.
pub(crate) struct Signing<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) files: &'a Files,
    pub(crate) unrecorded: &'a Unrecorded,
    pub(crate) lifetime: Duration,
}

impl Signing<'_> {
    /// A certificate of this host's own, PEM. It is noted before anybody sees it.
    pub(crate) fn sign_own(&self, request: &str, subject: &Subject) -> Result<String, UseCluster> {
        let issued = self.authority.certify(request, subject, self.lifetime)?;
        self.unrecorded.note(&issued)?;
        Ok(issued.certificate)
    }

    /// Makes a certificate, with a key of its own, for what the signer serves: its endpoint and etcd, at `addresses`.
    pub(crate) fn certify_service(&self, addresses: &[IpAddr]) -> Result<(), UseCluster> {
        let loopback = [127, 0, 0, 1].into();
        let subject = Subject {
            names: vec![MANAGER_NAME.to_owned(), ETCD_NAME.to_owned()],
            addresses: addresses.iter().copied().chain([loopback]).collect(),
        };
        let candidate = Candidate::new()?;
        let certificate = self.sign_own(&candidate.request, &subject)?;
        self.files.write(SERVICE_KEY, &candidate.key)?;
        self.files.write(SERVICE_CERTIFICATE, &certificate)?;
        Ok(())
    }
}

/// Of one transaction; etcd takes 128.
const NOTED_MAX: usize = 64;

/// How long a certificate that lasts so long is kept on record. Clocks differ: until it is over by all of them.
pub(crate) fn on_record(lifetime: Duration) -> Duration {
    lifetime + Duration::from_secs(RENEWABLE_S) + CLOCK_SKEW
}

#[cfg(test)]
mod tests {
    use agent_core::shared::CaRecord;
    use agent_store::RedbStore;

    use super::*;
    use crate::ca::{Ca, host_subject};

    #[test]
    fn what_was_signed_without_the_store_is_on_record_once_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (files, (ca, _)) = (Files::new(dir.path()), Ca::create("c").unwrap());
        let record = CaRecord::new(ca.certificate().to_owned());
        let authority = Authority::new(ca, record);
        let sign = || {
            // As after a restart of the agent.
            let unrecorded = Unrecorded::new(&files, "0a01");
            let signing = Signing {
                authority: &authority,
                files: &files,
                unrecorded: &unrecorded,
                lifetime: Duration::from_secs(60),
            };
            let request = Candidate::new().unwrap().request;
            let subject = host_subject("0a01", [192, 0, 2, 1].into());
            signing.sign_own(&request, &subject).unwrap();
            signing.certify_service(&[[192, 0, 2, 1].into()]).unwrap();
            unrecorded
        };
        sign();
        let unrecorded = sign();
        let store = RedbStore::open(&dir.path().join("store")).unwrap();
        for _ in 0..2 {
            unrecorded.put(&store, Duration::from_secs(60)).unwrap();
            assert_eq!(store.list("issued/0a01/").unwrap().len(), 4);
        }
        for _ in 0..NOTED_MAX {
            sign();
        }
        assert_eq!(unrecorded.noted().len(), NOTED_MAX);
    }
}
