//! This host's own keys: that it is the only one of its id, and that they stay.
//!
//! # Theory of operation
//!
//! A state directory that was copied to another machine makes a second host of the same id. Whoever of the two comes later finds
//! the first one's sign of life under a living lease, with another address and of another run, and stays out: it registers
//! nothing and opens no tunnel, until the other is gone. A host that is merely elsewhere than when its agent was killed
//! waits for its own old lease to end. Two that others reach at one address, which a translator leads to either, differ by the
//! addresses that they have themselves.
//!
//! Its name and its sign of life are its own to delete. When one vanishes, somebody else deleted it, and it is put back, unless
//! the host was shut out. With its sign of life the others forget all that this session said, so that another one begins. A
//! store that was set back to before this host joined knows no name of it; the host tells it before its sign of life, which no
//! manager takes from a stranger.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use agent_core::shared::managers::managers;
use agent_core::shared::{ALIVE, AliveRecord, HOSTS, HostRecord, REVOKED};
use agent_store::{Change, Expected, StoreError};

use crate::clock::now_s;
use crate::error::{Refusal, UseCluster};
use crate::lock::lock;
use crate::member::Member;

impl Member {
    /// Refuses to go on where another agent is this host already.
    pub(crate) fn be_the_only_one(&self) -> Result<(), UseCluster> {
        let runs_etcd = lock(&self.duty).etcd_managed;
        // Nobody else runs the only etcd.
        if runs_etcd && managers(&self.world()).len() <= 1 {
            return Ok(());
        }
        let key = self.own_key(ALIVE);
        let told: Option<AliveRecord> = match self.store().get(&key)? {
            Some(entry) => Some(entry.decode()?),
            None => None,
        };
        let other = told.and_then(|told| other_place(&told, &self.sign_of_life()));
        *lock(&self.double) = other;
        match other {
            None => Ok(()),
            Some(address) => Err(Refusal::Double {
                host: self.settings.host.clone(),
                address,
            }
            .into()),
        }
    }

    /// A key was deleted: has everything told again where it was this host's, and should still be there. An error ends the
    /// session.
    pub(crate) fn mind_own(&self, key: &str) -> Result<(), UseCluster> {
        let is_alive = key == self.own_key(ALIVE);
        let is_own = is_alive || key == self.own_key(HOSTS);
        if !is_own || self.is_stopping() || self.store().get(&self.own_key(REVOKED))?.is_some() {
            return Ok(());
        }
        tracing::warn!(
            key,
            "somebody deleted what this host shares: it is put back"
        );
        self.says_again.store(true, Ordering::Relaxed);
        match is_alive {
            true => Err(Refusal::Forgotten.into()),
            false => Ok(()),
        }
    }

    /// Puts this host's name back, where the store has lost it and the host was not shut out.
    pub(crate) fn put_back(&self) -> Result<(), StoreError> {
        let (store, key) = (self.store(), self.own_key(HOSTS));
        if store.get(&key)?.is_some() || store.get(&self.own_key(REVOKED))?.is_some() {
            return Ok(());
        }
        let joined_s = match self.joined_s.load(Ordering::Relaxed) {
            0 => now_s(),
            joined_s => joined_s,
        };
        let host = HostRecord {
            name: self.settings.name.clone(),
            address: self.told().ip(),
            joined_s,
        };
        match store.transact(&[Change::encode(key, &host, Expected::Absent)?]) {
            Ok(_) | Err(StoreError::Exists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Since when this host is a member, as long as that is known.
    pub(crate) fn note_joined(&self) {
        let own = lock(&self.world).find::<HostRecord>(&self.own_key(HOSTS));
        if let Some((own, _)) = own {
            self.joined_s.store(own.joined_s, Ordering::Relaxed);
        }
    }

    fn own_key(&self, kind: &str) -> String {
        format!("{kind}{}", self.settings.host)
    }
}

/// Where the agent is that `told` is of, if that is not the one that would say `own`, nor one before it in the same place.
fn other_place(told: &AliveRecord, own: &AliveRecord) -> Option<IpAddr> {
    let own_inside = own.inside.unwrap_or(own.address);
    match told {
        _ if told.run == own.run => None,
        _ if told.address != own.address => Some(told.address),
        // Older agents do not say where they are inside.
        _ => told.inside.filter(|told| *told != own_inside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_differs_by_where_it_is_as_others_see_it_or_inside() {
        let alive = |run: &str, address: &str, inside: Option<&str>| AliveRecord {
            address: address.parse().unwrap(),
            inside: inside.map(|inside| inside.parse().unwrap()),
            quic_udp_port: Some(4790),
            run: run.to_owned(),
            certificate: None,
        };
        let (elastic, here, there) = ("203.0.113.7", "10.0.0.7", "10.0.0.8");
        let of = |told: &AliveRecord, own: &AliveRecord| {
            other_place(told, own).map(|address| address.to_string())
        };
        let own = alive("b", elastic, Some(here));
        // An agent before this one, on this host.
        assert_eq!(of(&alive("a", elastic, Some(here)), &own), None);
        assert_eq!(of(&alive("a", elastic, None), &own), None);
        assert_eq!(of(&alive("a", here, None), &alive("b", here, None)), None);
        // One that has moved, as long as it runs.
        assert_eq!(of(&alive("b", elastic, Some(there)), &own), None);
        // Another machine's.
        let copied = of(&alive("a", elastic, Some(there)), &own);
        assert_eq!(copied.as_deref(), Some(there));
        let copied = of(&alive("a", there, None), &alive("b", here, None));
        assert_eq!(copied.as_deref(), Some(there));
    }
}
