//! A manager makes a backup.

use agent_core::shared::{CA, CaRecord, TOKENS};
use agent_store::{Entry, StoreError};

use crate::admission::patiently;
use crate::authority::Authority;
use crate::backup::Backup;
use crate::clock::now_s;
use crate::error::{Refusal, UseCluster};
use crate::lock::lock;
use crate::member::Member;

impl Member {
    /// All that the cluster needs to begin again. Asks etcd.
    pub fn backup(&self) -> Result<String, UseCluster> {
        let admission = lock(&self.admission).clone();
        let Some(admission) = admission else {
            return Err(self.no_manager("backup"));
        };
        let mut entries = patiently(
            || self.store().list(""),
            |error| matches!(error, StoreError::Unreachable { .. }),
        )?;
        entries.retain(|entry| !entry.key.starts_with(TOKENS));
        let authority = admission.authority();
        check_ca(&entries, &authority)?;
        let backup = Backup {
            cluster: self.settings.cluster.clone(),
            made_s: now_s(),
            tcp_port: self.signer().port(),
            ca: authority.record().clone(),
            ca_key: authority.ca().key(),
            entries,
        };
        backup.encode().map_err(|source| {
            let key = "backup".to_owned();
            StoreError::Value { key, source }.into()
        })
    }
}

/// The key must be that of the CA which signs by the records.
fn check_ca(entries: &[Entry], authority: &Authority) -> Result<(), UseCluster> {
    let told = entries.iter().find(|entry| entry.key == CA);
    let told: Option<CaRecord> = told.map(Entry::decode).transpose()?;
    match told.is_none_or(|told| told == *authority.record()) {
        true => Ok(()),
        false => Err(Refusal::TakesUpCa.into()),
    }
}
