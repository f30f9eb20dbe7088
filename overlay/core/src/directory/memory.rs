//! What is remembered of the past: withdrawals and moves.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use switch_core::{Mac, Time};

use crate::{Epoch, HostId, NetworkId, Sequence};

type Key = (NetworkId, Mac, HostId);

/// Withdrawn records, and MACs that moved.
#[derive(Debug, Default)]
pub(super) struct Memory {
    buried: BTreeMap<Key, Grave>,
    /// In the order in which they were buried, which is the order in which they end. A line that its grave does not name is
    /// void.
    queue: VecDeque<(Time, Key)>,
    moves: BTreeMap<(NetworkId, Mac), Moves>,
}

#[derive(Clone, Copy, Debug)]
struct Grave {
    last: (Epoch, Sequence),
    until: Time,
}

#[derive(Clone, Copy, Debug)]
struct Moves {
    since: Time,
    count: u32,
}

impl Memory {
    /// Remembers a withdrawal; false when one at least as new is remembered.
    pub(super) fn bury(&mut self, until: Time, key: Key, last: (Epoch, Sequence)) -> bool {
        if self
            .buried
            .get(&key)
            .is_some_and(|grave| grave.last >= last)
        {
            return false;
        }
        self.buried.insert(key.clone(), Grave { last, until });
        self.queue.push_back((until, key));
        if self.queue.len() > GRAVES_MAX {
            self.forget_first();
        }
        true
    }

    /// The last withdrawn record of a host.
    pub(super) fn buried(
        &self,
        network: NetworkId,
        mac: Mac,
        host: &HostId,
    ) -> Option<(Epoch, Sequence)> {
        let grave = self.buried.get(&(network, mac, host.clone()))?;
        Some(grave.last)
    }

    /// The highest withdrawn sequence of a MAC.
    pub(super) fn highest(&self, network: NetworkId, mac: Mac) -> Sequence {
        let from = self.buried.range((network, mac, HostId::first())..);
        let of_mac = from.take_while(|((v, m, _), _)| (*v, *m) == (network, mac));
        of_mac
            .map(|(_, grave)| grave.last.1)
            .max()
            .unwrap_or_default()
    }

    pub(super) fn note_move(&mut self, now: Time, window: Duration, network: NetworkId, mac: Mac) {
        if self.moves.len() >= MOVES_MAX && !self.moves.contains_key(&(network, mac)) {
            return;
        }
        let moves = self.moves.entry((network, mac)).or_insert(Moves {
            since: now,
            count: 0,
        });
        if now >= moves.since + window {
            *moves = Moves {
                since: now,
                count: 0,
            };
        }
        moves.count = moves.count.saturating_add(1);
    }

    /// Moves of a MAC in the window that runs.
    pub(super) fn moves(&self, now: Time, window: Duration, network: NetworkId, mac: Mac) -> u32 {
        match self.moves.get(&(network, mac)) {
            Some(moves) if now < moves.since + window => moves.count,
            _ => 0,
        }
    }

    /// Forgets all withdrawals.
    pub(super) fn forget(&mut self) {
        self.buried.clear();
        self.queue.clear();
    }

    /// Forgets a host's withdrawals of lives that have higher numbers than `epoch`.
    pub(super) fn forget_after(&mut self, host: &HostId, epoch: Epoch) {
        self.buried
            .retain(|(_, _, of), grave| of != host || grave.last.0 <= epoch);
    }

    pub(super) fn age(&mut self, now: Time, window: Duration) {
        while self.queue.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_first();
        }
        self.moves.retain(|_, moves| now < moves.since + window);
    }

    pub(super) fn next_timeout(&self, window: Duration) -> Option<Time> {
        let grave = self.queue.front().map(|(until, _)| *until);
        let moves = self.moves.values().map(|moves| moves.since + window).min();
        [grave, moves].into_iter().flatten().min()
    }

    fn forget_first(&mut self) {
        let Some((until, key)) = self.queue.pop_front() else {
            return;
        };
        if self
            .buried
            .get(&key)
            .is_some_and(|grave| grave.until == until)
        {
            self.buried.remove(&key);
        }
    }
}

const GRAVES_MAX: usize = 65_536;
const MOVES_MAX: usize = 4096;
