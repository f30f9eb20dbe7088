//! The underlay: it loses, delays and reorders, and can be cut between any two hosts in either direction.

use std::collections::{BTreeMap, BTreeSet};

use switch_lab::simulation::Random;

/// What is under way.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    /// A QUIC datagram.
    Datagram(Vec<u8>),
    /// The other end took the connection: its number.
    Connected(u64),
    /// The other end closed that connection.
    Closed(u64),
}

#[derive(Debug)]
pub(crate) struct Net {
    queue: BTreeMap<(u64, u64), (usize, usize, u64, Parcel)>,
    sent: u64,
    cuts: BTreeSet<(usize, usize)>,
    loss_percent: usize,
    random: Random,
}

impl Net {
    pub(crate) fn new(seed: u64, loss_percent: usize) -> Self {
        Self {
            queue: BTreeMap::new(),
            sent: 0,
            cuts: BTreeSet::new(),
            loss_percent,
            random: Random(seed),
        }
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub(crate) fn spoil(&mut self, loss_percent: usize) {
        self.loss_percent = loss_percent;
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.loss_percent = 0;
    }

    pub(crate) fn passes(&self, from: usize, to: usize) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// Sends over connection `link`; all but datagrams are sent again by QUIC until they arrive, which here is at once.
    pub(crate) fn send(&mut self, now: u64, from: usize, to: usize, link: u64, parcel: Parcel) {
        let is_lost = match parcel {
            Parcel::Datagram(_) => self.random.chance(self.loss_percent),
            _ => false,
        };
        if is_lost || !self.passes(from, to) {
            return;
        }
        // One in ten is overtaken by others.
        let late = u64::from(self.random.chance(10));
        self.sent += 1;
        let key = (now + 1 + late, self.sent);
        self.queue.insert(key, (from, to, link, parcel));
    }

    /// What arrives by now: from, to, connection, parcel.
    pub(crate) fn arrive(&mut self, now: u64) -> Option<(usize, usize, u64, Parcel)> {
        let entry = self.queue.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        Some(entry.remove())
    }
}
