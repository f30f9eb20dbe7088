//! What an engine knows of relays; what it does with them is in [`super::relay`].

use std::collections::BTreeSet;

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use overlay_core::{HostId, RelayBudget};
use switch_core::Time;

use super::place::Place;

/// What an engine knows of relays.
pub(super) struct Relays {
    pub(super) budget: RelayBudget,
    /// Those that come first where one is chosen.
    pub(super) managers: BTreeSet<HostId>,
    /// Every peer, by the number that its places have.
    pub(super) hosts: HashMap<u32, HostId>,
    last_number: u32,
    /// Needed hosts that are not reached directly, and the hosts over which they may be.
    pub(super) sought_by: BTreeSet<HostId>,
    pub(super) wanted: BTreeSet<HostId>,
    /// What came from one neighbor to be passed on, or had been.
    pub(super) received: Vec<Bytes>,
}

impl Relays {
    pub(super) fn new() -> Self {
        Self {
            budget: RelayBudget::new(Time::default(), PAIR_RATE),
            managers: BTreeSet::new(),
            hosts: HashMap::new(),
            last_number: 0,
            sought_by: BTreeSet::new(),
            wanted: BTreeSet::new(),
            received: Vec::new(),
        }
    }

    /// A number for a new peer.
    pub(super) fn number(&mut self, host: &HostId) -> u32 {
        while self.hosts.contains_key(&self.last_number) {
            self.last_number = self.last_number.wrapping_add(1);
        }
        self.hosts.insert(self.last_number, host.clone());
        self.last_number
    }

    pub(super) fn forget(&mut self, number: u32) {
        self.hosts.remove(&number);
    }

    /// The relay of a place, and the host that is there.
    pub(super) fn hosts_at(&self, place: Place) -> Option<(&HostId, &HostId)> {
        let relay = self.hosts.get(&place.relay)?;
        Some((relay, self.hosts.get(&place.host)?))
    }
}

/// What two hosts may have passed on here, in bytes a millisecond: half a gigabit a second.
const PAIR_RATE: u64 = 62_500;
