//! What becomes of a host that is gone for good.

use agent_core::shared::{ALIVE, DEMOTE, FOLLOWED, HOSTS, MANAGERS, REVOKED, RevokedRecord};
use agent_store::{Change, Expected, StoreError};

use crate::admission::patiently;
use crate::clock::now_s;
use crate::error::{Refusal, UseCluster};
use crate::leavings::{Left, forget_host};
use crate::member::Member;
use crate::roster::HostSeen;

/// A host that was removed, and what went with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub host: HostSeen,
    pub was_manager: bool,
    pub left: Left,
}

impl Member {
    /// Forgets a host that is dead: its certificates are void, its addresses free, and nobody waits for it any more.
    pub fn remove(&self, called: &str) -> Result<Removed, UseCluster> {
        self.check_manager("rm")?;
        let host = self.find_host(called)?;
        if host.id == self.settings.host {
            return Err(Refusal::RemovesItself.into());
        }
        // Its tunnel may be up though its lease has ended.
        if host.alive.is_some() {
            return Err(Refusal::Alive(host.record.name).into());
        }
        let key = |kind: &str| format!("{kind}{}", host.id);
        let store = self.store();
        if store.get(&key(MANAGERS))?.is_some() {
            return Err(Refusal::DemoteFirst(host.record.name).into());
        }
        // It has not obeyed, so it has the key still.
        let was_manager = store.get(&key(DEMOTE))?.is_some();
        let left = match self.forget_for_good(&host.id, &host.record.name, Expected::Absent) {
            Ok(left) => left,
            // It has come to life at this moment.
            Err(StoreError::Exists { .. }) => return Err(Refusal::Alive(host.record.name).into()),
            Err(error) => return Err(error.into()),
        };
        Ok(Removed {
            host,
            was_manager,
            left,
        })
    }

    /// Shuts a host out and deletes what it had, if what says that it is alive is as `expected`.
    pub(crate) fn forget_for_good(
        &self,
        host: &str,
        name: &str,
        expected: Expected,
    ) -> Result<Left, StoreError> {
        let record = RevokedRecord {
            name: name.to_owned(),
            revoked_s: now_s(),
        };
        let key = |kind: &str| format!("{kind}{host}");
        let store = self.store();
        store.transact(&[
            Change::delete(key(ALIVE), expected),
            Change::encode(key(REVOKED), &record, Expected::Anything)?,
            Change::delete(key(HOSTS), Expected::Anything),
            Change::delete(key(FOLLOWED), Expected::Anything),
            Change::delete(key(DEMOTE), Expected::Anything),
        ])?;
        patiently(
            || forget_host(&*store, host),
            |error| matches!(error, StoreError::Unreachable { .. }),
        )
    }
}
