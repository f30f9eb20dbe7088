//! Which hosts this one needs a connection to.
//!
//! # Theory of operation
//!
//! A cluster may have many hosts, and a host few neighbours. So there are connections only where they serve: to the hosts that have
//! endpoints on a network where this one has some too ([`Directory::hosts_of`](crate::Directory::hosts_of)). Both ends see that in the same
//! records. Other reasons come and go ([`Reason`]); a host is needed while there is any.

use std::collections::{BTreeMap, BTreeSet};

use switch_core::Time;

use crate::HostId;

/// What connections are needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Both hosts have endpoints on a network that goes over it.
    Networks,
    /// This host is elsewhere now, and others find it by its connection.
    Moved,
    /// Somebody follows the frames of a network on all its hosts.
    Trace,
}

/// The hosts that are needed, by reason.
#[derive(Debug, Default)]
pub struct Demand(BTreeMap<Reason, Needed>);

#[derive(Debug)]
struct Needed {
    hosts: BTreeSet<HostId>,
    until: Option<Time>,
}

impl Demand {
    /// These hosts and no others are needed for that reason.
    pub fn set(&mut self, reason: Reason, hosts: BTreeSet<HostId>) {
        self.0.insert(reason, Needed { hosts, until: None });
    }

    /// The same until `end`.
    pub fn set_until(&mut self, reason: Reason, hosts: BTreeSet<HostId>, end: Time) {
        let until = Some(end);
        self.0.insert(reason, Needed { hosts, until });
    }

    /// Forgets reasons whose time is over. Whether there were any.
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        let before = self.0.len();
        self.0
            .retain(|_, needed| needed.until.is_none_or(|end| now < end));
        self.0.len() < before
    }

    /// Who is needed for any reason.
    pub fn hosts(&self) -> BTreeSet<HostId> {
        let all = self.0.values().flat_map(|needed| &needed.hosts);
        all.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> BTreeSet<HostId> {
        let hosts = names.iter().map(|name| HostId::new(name).unwrap());
        hosts.collect()
    }

    #[test]
    fn a_host_is_needed_while_there_is_any_reason() {
        let at = Time::from_millis;
        let mut demand = Demand::default();
        demand.set(Reason::Networks, hosts(&["a", "b"]));
        demand.set_until(Reason::Moved, hosts(&["b", "c"]), at(100));
        assert_eq!(demand.hosts(), hosts(&["a", "b", "c"]));
        demand.set(Reason::Networks, hosts(&["a"]));
        assert!(!demand.handle_timeout(at(99)));
        assert_eq!(demand.hosts(), hosts(&["a", "b", "c"]));
        assert!(demand.handle_timeout(at(100)));
        assert_eq!(demand.hosts(), hosts(&["a"]));
    }
}
