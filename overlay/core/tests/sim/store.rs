//! The store: keys of each host under its lease, and watches that deliver late, out of order, and now and then twice.

use std::collections::BTreeMap;

use overlay_core::{Epoch, HostId, NetworkId, Record, Withdrawal};
use switch_core::Mac;
use switch_lab::simulation::Random;

/// What a watch says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Put(Record),
    Delete(Withdrawal),
    Gone(HostId, Epoch),
    Snapshot(Vec<Record>),
}

#[derive(Debug)]
pub(crate) struct Store {
    records: BTreeMap<(usize, NetworkId, Mac), Record>,
    /// By host: the epoch its lease is for, and when it ends if it is not refreshed.
    leases: BTreeMap<usize, (Epoch, Option<u64>)>,
    queue: BTreeMap<(u64, u64), (usize, u64, Said)>,
    /// A watch that was interrupted says nothing of before.
    watches: Vec<Option<u64>>,
    names: Vec<HostId>,
    epochs: u64,
    pub(crate) messages: u64,
    /// How many of a hundred words of a watch come twice.
    again_percent: usize,
    random: Random,
}

impl Store {
    pub(crate) fn new(names: Vec<HostId>, seed: u64, again_percent: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            leases: BTreeMap::new(),
            queue: BTreeMap::new(),
            watches: vec![None; names.len()],
            names,
            epochs: 0,
            messages: 0,
            again_percent,
            random: Random(seed),
        }
    }

    pub(crate) fn is_reached_by(&self, host: usize) -> bool {
        self.watches[host].is_some()
    }

    pub(crate) fn epoch(&mut self) -> Epoch {
        self.epochs += 1;
        Epoch(self.epochs)
    }

    /// A host's watch begins, with all there is.
    pub(crate) fn watch(&mut self, now: u64, host: usize) {
        self.epochs += 1;
        self.watches[host] = Some(self.epochs);
        let others = self
            .records
            .iter()
            .filter(|((owner, ..), _)| *owner != host);
        let snapshot = others.map(|(_, record)| record.clone()).collect();
        self.deliver(now, host, Said::Snapshot(snapshot), 1);
    }

    /// The epoch of a host's lease, if it still has one.
    pub(crate) fn lease(&self, host: usize) -> Option<Epoch> {
        self.leases.get(&host).map(|(epoch, _)| *epoch)
    }

    pub(crate) fn grant(&mut self, host: usize, epoch: Epoch) {
        self.leases.insert(host, (epoch, None));
    }

    pub(crate) fn refresh(&mut self, host: usize) {
        if let Some((_, ends)) = self.leases.get_mut(&host) {
            *ends = None;
        }
    }

    /// The host does not reach the store any more.
    pub(crate) fn cut(&mut self, now: u64, host: usize) {
        if self.watches[host].take().is_none() {
            return;
        }
        if let Some((_, ends)) = self.leases.get_mut(&host) {
            *ends = Some(now + LEASE);
        }
    }

    /// The host's records are these from now on.
    pub(crate) fn publish_all(&mut self, now: u64, host: usize, records: Vec<Record>) {
        let held: Vec<Record> = self
            .records
            .iter()
            .filter(|((owner, ..), _)| *owner == host)
            .map(|(_, record)| record.clone())
            .collect();
        for old in held {
            let is_kept = |record: &Record| (record.network, record.mac) == (old.network, old.mac);
            if !records.iter().any(is_kept) {
                self.delete(now, host, old.withdrawal());
            }
        }
        for record in records {
            if self.records.get(&(host, record.network, record.mac)) != Some(&record) {
                self.put(now, host, record);
            }
        }
    }

    pub(crate) fn put(&mut self, now: u64, host: usize, record: Record) {
        self.records
            .insert((host, record.network, record.mac), record.clone());
        self.tell(now, host, &Said::Put(record));
    }

    pub(crate) fn delete(&mut self, now: u64, host: usize, withdrawal: Withdrawal) {
        self.records
            .remove(&(host, withdrawal.network, withdrawal.mac));
        self.tell(now, host, &Said::Delete(withdrawal));
    }

    pub(crate) fn expire(&mut self, now: u64) {
        let is_over = |ends: &Option<u64>| ends.is_some_and(|ends| ends <= now);
        let over: Vec<(usize, Epoch)> = self
            .leases
            .iter()
            .filter(|(_, (_, ends))| is_over(ends))
            .map(|(host, (epoch, _))| (*host, *epoch))
            .collect();
        for (host, epoch) in over {
            self.leases.remove(&host);
            self.records.retain(|(owner, ..), _| *owner != host);
            self.tell(now, host, &Said::Gone(self.names[host].clone(), epoch));
        }
    }

    pub(crate) fn arrive(&mut self, now: u64) -> Option<(usize, Said)> {
        loop {
            let entry = self.queue.first_entry()?;
            if entry.key().0 > now {
                return None;
            }
            let (host, watch, said) = entry.remove();
            if self.watches[host] == Some(watch) {
                return Some((host, said));
            }
        }
    }

    fn tell(&mut self, now: u64, from: usize, said: &Said) {
        for host in 0..self.names.len() {
            if host != from && self.watches[host].is_some() {
                // A watch that is taken up again may say once more what it said.
                let times = if self.random.chance(self.again_percent) {
                    2
                } else {
                    1
                };
                for _ in 0..times {
                    let delay = 1 + u64::try_from(self.random.below(150)).unwrap();
                    self.deliver(now, host, said.clone(), delay);
                }
            }
        }
    }

    fn deliver(&mut self, now: u64, host: usize, said: Said, delay: u64) {
        let watch = self.watches[host].unwrap();
        self.messages += 1;
        self.queue
            .insert((now + delay, self.messages), (host, watch, said));
    }
}

const LEASE: u64 = 3000;
