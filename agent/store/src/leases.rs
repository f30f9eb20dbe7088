//! Leases of the embedded store: who holds them, and until when.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::LeaseId;

/// Leases by id. They are not on disk: a lease ends with its store's process.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    last: i64,
    leases: BTreeMap<LeaseId, Lease>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    until: Instant,
}

impl Leases {
    pub(crate) fn grant(&self, ttl: Duration) -> LeaseId {
        let ttl = Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0));
        let mut held = self.held();
        held.last += 1;
        let id = LeaseId(held.last);
        let until = Instant::now() + ttl;
        held.leases.insert(id, Lease { ttl, until });
        id
    }

    /// False when there is no such lease any more.
    pub(crate) fn keep_alive(&self, id: LeaseId) -> bool {
        match self.held().leases.get_mut(&id) {
            Some(lease) => {
                lease.until = Instant::now() + lease.ttl;
                true
            }
            None => false,
        }
    }

    pub(crate) fn is_held(&self, id: LeaseId) -> bool {
        self.held().leases.contains_key(&id)
    }

    pub(crate) fn forget(&self, id: LeaseId) {
        self.held().leases.remove(&id);
    }

    /// Removes the leases that have run out, and names them.
    pub(crate) fn take_expired(&self) -> Vec<LeaseId> {
        let now = Instant::now();
        let expired = |_: &LeaseId, lease: &mut Lease| lease.until <= now;
        let mut held = self.held();
        held.leases
            .extract_if(.., expired)
            .map(|(id, _)| id)
            .collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
