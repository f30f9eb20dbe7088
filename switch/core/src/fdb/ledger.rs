//! Membership of the FDB, in the orders that eviction, ageing and flushing need.

use std::collections::{BTreeSet, HashMap};

use super::{FdbKind, Moves, Station};
use crate::PortId;

/// Who has what, in the orders that eviction, ageing and flushing need.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    by_port: HashMap<PortId, Holdings>,
    by_count: BTreeSet<(usize, PortId)>,
    pub(super) learned: usize,
    /// Stations that moved, until somebody takes them.
    pub(super) moves: Moves,
}

#[derive(Debug, Default)]
struct Holdings {
    learned: BTreeSet<(u32, Station)>,
    configured: BTreeSet<Station>,
}

impl Ledger {
    /// An entry whose MAC is not in the ledger.
    pub(super) fn add(&mut self, station: Station, port: PortId, kind: FdbKind, queued: u32) {
        let holdings = self.by_port.entry(port).or_default();
        if kind != FdbKind::Learned {
            holdings.configured.insert(station);
            return;
        }
        let before = holdings.learned.len();
        if holdings.learned.insert((queued, station)) {
            self.learned += 1;
            self.by_count.remove(&(before, port));
            self.by_count.insert((before + 1, port));
        }
    }

    /// Exactly what was added, but for requeues.
    pub(super) fn remove(&mut self, station: Station, port: PortId, kind: FdbKind, queued: u32) {
        let Some(holdings) = self.by_port.get_mut(&port) else {
            return;
        };
        let before = holdings.learned.len();
        if kind != FdbKind::Learned {
            holdings.configured.remove(&station);
        } else if holdings.learned.remove(&(queued, station)) {
            self.learned -= 1;
            self.by_count.remove(&(before, port));
            if before > 1 {
                self.by_count.insert((before - 1, port));
            }
        }
        if holdings.learned.is_empty() && holdings.configured.is_empty() {
            self.by_port.remove(&port);
        }
    }

    /// Gives a learned entry a new age.
    pub(super) fn requeue(&mut self, port: PortId, from: u32, to: u32, station: Station) {
        if let Some(holdings) = self.by_port.get_mut(&port) {
            holdings.learned.remove(&(from, station));
            holdings.learned.insert((to, station));
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "each port's entries age for themselves, in whatever order"
    )]
    pub(super) fn ports(&self) -> Vec<PortId> {
        self.by_port.keys().copied().collect()
    }

    /// The age and MAC of the longest unheard.
    pub(super) fn oldest(&self, port: PortId) -> Option<(u32, Station)> {
        self.by_port.get(&port)?.learned.first().copied()
    }

    /// The port with most learned MACs.
    pub(super) fn fullest(&self) -> Option<PortId> {
        self.by_count.last().map(|(_, port)| *port)
    }

    pub(super) fn learned_count(&self, port: PortId) -> usize {
        self.by_port
            .get(&port)
            .map_or(0, |holdings| holdings.learned.len())
    }

    pub(super) fn stations(&self, port: PortId) -> Vec<Station> {
        let Some(holdings) = self.by_port.get(&port) else {
            return Vec::new();
        };
        let learned = holdings.learned.iter().map(|(_, station)| *station);
        learned.chain(holdings.configured.iter().copied()).collect()
    }
}
