//! Connections to hosts that may relay, while a host that is needed is not reached.
//!
//! Both ends seek, and by the same rule, so that they find the same hosts: the managers, and a few others in case those decline.

use std::collections::BTreeSet;
use std::time::Instant;

use overlay_core::{HostId, Way};

use crate::quic::engine::Engine;

impl Engine {
    /// A host does not answer: others are connected that may lead there, while it is dialed again.
    pub(in crate::quic) fn seek_relays(&mut self, now: Instant, host: &HostId) {
        if !self.needed.contains(host) {
            return;
        }
        if self.relays.sought_by.insert(host.clone()) {
            self.relays.wanted = self.possible_relays();
            self.follow_needs(now);
        }
    }

    /// A host is reached: over a relay it still needs that.
    pub(super) fn note_reached(&mut self, now: Instant, host: &HostId, way: &Way) {
        if *way == Way::Direct && self.relays.sought_by.contains(host) {
            self.seek_no_more(|sought, _| sought == host);
            self.follow_needs(now);
        }
    }

    /// Nobody seeks relays for such hosts, given those that are needed.
    pub(in crate::quic) fn seek_no_more(
        &mut self,
        is_such: impl Fn(&HostId, &BTreeSet<HostId>) -> bool,
    ) {
        let needed = &self.needed;
        self.relays.sought_by.retain(|host| !is_such(host, needed));
        if self.relays.sought_by.is_empty() {
            self.relays.wanted.clear();
        }
    }

    fn possible_relays(&self) -> BTreeSet<HostId> {
        let managers = &self.relays.managers;
        let mut known: Vec<_> = self.peers.keys().cloned().collect();
        known.sort_by_key(|host| (!managers.contains(host), host.clone()));
        let chosen = known.into_iter().take(managers.len() + OTHERS_MAX);
        chosen.collect()
    }
}

const OTHERS_MAX: usize = 4;
