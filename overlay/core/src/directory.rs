//! Where every endpoint of the cluster is.
//!
//! # Theory of operation
//!
//! A [`Directory`] holds the records of all hosts, this one's among them, and derives three things: who has a MAC, who has an
//! address, and which hosts are in a network. It is fed from a store whose watch may be late, repeat itself, and reorder what
//! different hosts said:
//!
//! - All claims to a MAC are kept, best first ([`Record::outranks`]). When the best goes, the second best takes its place, and
//!   the order of arrival does not matter. An address belongs to its best claimant, among those that have their MAC.
//! - A withdrawal is remembered for a while, so that a record that comes after it stays dead. A lease that ended is remembered
//!   as well: a record of that epoch, or of an earlier one, is void.
//! - A host is in a network when it has a claim there. Frames are flooded to those hosts, and taken from no others.
//! - This host takes a MAC over with a sequence above all it knows. An endpoint that is attached always does; a MAC that
//!   was merely seen here does so a limited number of times, because two stations with one MAC would go on for ever
//!   (RFC 7432 §15.1).
//!
//! [`Directory::poll_event`] tells what changed, for the networks that this host has a bridge of. An event is the difference
//! between what was told and what is true now. It is no log: however much happens, at most one event waits for each MAC, and
//! one for each host in a network.
//!
//! Bounds: records, claims to a MAC, addresses a record, hosts, withdrawals remembered. At a bound a record is refused and
//! counted; of too many claims to one MAC the worst goes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use switch_core::{Mac, Time};

use crate::{Epoch, HostId, NetworkId, Record, RecordFlags, Sequence, Withdrawal};
use claims::Claims;
use lives::{Lives, Standing};
use memory::Memory;
use news::News;

pub use config::{
    AnnounceEndpoint, Applied, DirectoryConfig, DirectoryCounts, DirectoryEvent, Endpoint,
};

/// Every record known on this host, and what follows from them.
#[derive(Debug)]
pub struct Directory {
    config: DirectoryConfig,
    epoch: Epoch,
    claims: Claims,
    memory: Memory,
    news: News,
    lives: Lives,
    counts: DirectoryCounts,
}

impl Directory {
    pub fn new(config: DirectoryConfig) -> Self {
        Self {
            epoch: config.epoch,
            claims: Claims::default(),
            memory: Memory::default(),
            news: News::default(),
            lives: Lives::new(config.hosts_max),
            counts: DirectoryCounts::default(),
            config,
        }
    }

    /// This host has a bridge of the network now. Events about it follow, the first of them for the state as it is.
    pub fn attach_network(&mut self, network: NetworkId) {
        self.news.attach(network, &self.claims);
    }

    /// The bridge is gone: no more events.
    pub fn detach_network(&mut self, network: NetworkId) {
        self.news.detach(network);
    }

    /// The network has gone, or this host has left it: no more events, and nothing of it is known any more, since nobody may
    /// tell this host how its endpoints end. Who attaches it again is to say all of it anew.
    pub fn forget_network(&mut self, network: NetworkId) {
        self.news.detach(network);
        let macs: Vec<Mac> = self.claims.macs(network).collect();
        for mac in macs {
            let hosts = self.claims.hosts_of(network, mac);
            for host in hosts {
                self.claims
                    .remove(network, mac, &host, &mut self.news.touched);
            }
        }
    }

    /// An endpoint was attached here, or its addresses or flags changed. Its sequence is above all that is known of its MAC and
    /// its addresses, and at least `floor` (a count the allocator of addresses keeps, if it has one, which orders owners
    /// that do not know of each other). Publish the record. Repeating it returns the same record.
    pub fn announce(
        &mut self,
        now: Time,
        (network, mac): (NetworkId, Mac),
        addresses: &[IpAddr],
        flags: RecordFlags,
        floor: Sequence,
    ) -> Result<Record, AnnounceEndpoint> {
        if addresses.len() > Record::ADDRESSES_MAX {
            return Err(AnnounceEndpoint::TooManyAddresses(addresses.len()));
        }
        if !mac.is_station() {
            return Err(AnnounceEndpoint::NotAStation(mac));
        }
        if let Some(known) = self.standing(network, mac, addresses, flags, floor) {
            return Ok(known.clone());
        }
        let own = self
            .claims
            .of_host(network, mac, &self.config.host)
            .is_some();
        if !own && self.claims.len() >= self.config.records_max {
            return Err(AnnounceEndpoint::Full);
        }
        let record = Record {
            network,
            mac,
            addresses: addresses.to_vec(),
            host: self.config.host.clone(),
            epoch: self.epoch,
            sequence: self.highest(network, mac, addresses).next().max(floor),
            flags,
        };
        self.install(now, record.clone());
        Ok(record)
    }

    /// The endpoint was detached here. Publish the withdrawal; `None` when there was none.
    pub fn withdraw(&mut self, now: Time, network: NetworkId, mac: Mac) -> Option<Withdrawal> {
        let host = self.config.host.clone();
        let withdrawal = self.claims.of_host(network, mac, &host)?.withdrawal();
        self.remove(now, &withdrawal);
        Some(withdrawal)
    }

    /// A frame from `mac` came from a port of this host. If the MAC is another host's, and not registered there, this host
    /// takes it over: publish the record.
    pub fn learn_local(&mut self, now: Time, network: NetworkId, mac: Mac) -> Option<Record> {
        let best = self.claims.best(network, mac)?;
        if best.host == self.config.host || best.flags.sticky {
            return None;
        }
        let moves = self
            .memory
            .moves(now, self.config.move_window, network, mac);
        if moves >= self.config.moves_max {
            self.counts.damped += 1;
            return None;
        }
        let place = (network, mac);
        self.announce(now, place, &[], RecordFlags::default(), Sequence(0))
            .ok()
    }

    /// A record of another host.
    pub fn apply(&mut self, now: Time, record: Record) -> Applied {
        let applied = self.judge(now, &record);
        match applied {
            Applied::Installed => self.install(now, record),
            other => self.count(other),
        }
        applied
    }

    /// Another host no longer has an endpoint.
    pub fn apply_withdrawal(&mut self, now: Time, withdrawal: &Withdrawal) -> Applied {
        let applied = if withdrawal.host == self.config.host {
            Applied::Own
        } else if self.remove(now, withdrawal) {
            Applied::Installed
        } else {
            Applied::Stale
        };
        self.count(applied);
        applied
    }

    /// Takes all that other hosts say now, after the store was away. A record that is not among them is gone.
    pub fn resync(&mut self, now: Time, records: Vec<Record>) {
        let said: BTreeSet<_> = records
            .iter()
            .map(|record| (record.network, record.mac, record.host.clone()))
            .collect();
        for (network, mac, host) in self.claims.keys() {
            if host != self.config.host && !said.contains(&(network, mac, host.clone())) {
                self.take_out(now, network, mac, &host);
            }
        }
        for record in records {
            self.apply(now, record);
        }
    }

    /// The epoch of the life of a host that is known.
    pub fn epoch_of(&self, host: &HostId) -> Option<Epoch> {
        self.lives.epoch_of(host)
    }

    /// The lease that a host had in this epoch is gone. Everything that it said in that epoch is void.
    pub fn host_gone(&mut self, now: Time, host: &HostId, epoch: Epoch) {
        if *host == self.config.host {
            return;
        }
        if self.lives.end(now, host, epoch) {
            self.drop_records(now, host);
        }
    }

    /// A host says that it is alive, in a life that began at `epoch` or before. What is known of lives with higher numbers is of a
    /// store before, which was set back since: what the host says now is not older than that.
    pub fn host_lives(&mut self, host: &HostId, epoch: Epoch) {
        self.lives.forget_after(host, epoch);
        self.memory.forget_after(host, epoch);
    }

    /// The store was set back to an older state: hosts begin lives that have lower numbers than those which are known. What all hosts
    /// say now is to be applied after this.
    pub fn forget_past(&mut self) {
        self.lives.forget();
        self.memory.forget();
    }

    /// This host has a new lease. Publish its records, which are in the new epoch now.
    pub fn renew(&mut self, now: Time, epoch: Epoch) -> Vec<Record> {
        self.epoch = epoch;
        let mut records = self.claims.records_of(&self.config.host);
        for record in &mut records {
            record.epoch = epoch;
            self.install(now, record.clone());
        }
        records
    }

    /// This host's records, in the order of network and MAC.
    pub fn own_records(&self) -> Vec<Record> {
        self.claims.records_of(&self.config.host)
    }

    /// Who has a MAC.
    pub fn locate(&self, network: NetworkId, mac: Mac) -> Option<&Record> {
        self.claims.best(network, mac)
    }

    /// Who has an address.
    pub fn resolve(&self, network: NetworkId, address: IpAddr) -> Option<&Record> {
        self.claims.owner(network, address)
    }

    /// Other hosts with an endpoint in the network, in order.
    pub fn flood(&self, network: NetworkId) -> impl Iterator<Item = &HostId> {
        let members = self.claims.members(network);
        members.filter(|host| **host != self.config.host)
    }

    /// Other hosts with an endpoint in any of these networks.
    pub fn hosts_of(&self, networks: impl IntoIterator<Item = NetworkId>) -> BTreeSet<HostId> {
        let hosts = networks.into_iter().flat_map(|network| self.flood(network));
        hosts.cloned().collect()
    }

    /// Whether a host may send frames of a network: it has an endpoint there.
    pub fn is_member(&self, network: NetworkId, host: &HostId) -> bool {
        self.claims.is_member(network, host)
    }

    /// The next change. Poll after every call that changes something.
    pub fn poll_event(&mut self) -> Option<DirectoryEvent> {
        self.news.next(&self.claims, &self.config.host)
    }

    /// Forgets what was remembered long enough.
    pub fn handle_timeout(&mut self, now: Time) {
        self.memory.age(now, self.config.move_window);
        self.lives.age(now, self.config.tombstone);
    }

    /// When [`Self::handle_timeout`] is due. Being late costs memory only.
    pub fn poll_timeout(&self) -> Option<Time> {
        let lives = self.lives.next_timeout(self.config.tombstone);
        let memory = self.memory.next_timeout(self.config.move_window);
        [lives, memory].into_iter().flatten().min()
    }

    pub fn counts(&self) -> DirectoryCounts {
        self.counts
    }

    /// Records held, of all hosts.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    pub fn is_empty(&self) -> bool {
        self.claims.len() == 0
    }

    /// Takes note of the host's epoch, and says whether its record is to be installed.
    fn judge(&mut self, now: Time, record: &Record) -> Applied {
        if record.host == self.config.host {
            return Applied::Own;
        }
        let is_sound = record.addresses.len() <= Record::ADDRESSES_MAX && record.mac.is_station();
        if !is_sound {
            return Applied::Refused;
        }
        match self.lives.standing(&record.host, record.epoch) {
            Standing::TooMany => return Applied::Refused,
            Standing::Over => return Applied::OldEpoch,
            Standing::Current => {}
            Standing::New => {
                self.lives.begin(&record.host, record.epoch);
                self.drop_records(now, &record.host);
            }
        }
        let key = (record.epoch, record.sequence);
        let is_newer = |other: (Epoch, Sequence)| key > other;
        let held = self
            .claims
            .of_host(record.network, record.mac, &record.host);
        let buried = self.memory.buried(record.network, record.mac, &record.host);
        let known = held.map(|held| (held.epoch, held.sequence));
        if !known.is_none_or(is_newer) || !buried.is_none_or(is_newer) {
            return Applied::Stale;
        }
        if known.is_none() && self.claims.len() >= self.config.records_max {
            return Applied::Refused;
        }
        Applied::Installed
    }

    fn drop_records(&mut self, now: Time, host: &HostId) {
        let records = self.claims.records_of(host);
        if !records.is_empty() {
            self.counts.hosts_gone += 1;
        }
        for record in records {
            self.take_out(now, record.network, record.mac, host);
        }
    }

    /// This host's record, if it says what is asked for and nobody beats it.
    fn standing(
        &self,
        network: NetworkId,
        mac: Mac,
        addresses: &[IpAddr],
        flags: RecordFlags,
        floor: Sequence,
    ) -> Option<&Record> {
        let own = self.claims.of_host(network, mac, &self.config.host)?;
        let is_best = |address: &IpAddr| self.claims.owner(network, *address) == Some(own);
        let stands = own.addresses == addresses
            && own.flags == flags
            && own.sequence >= floor
            && self.claims.best(network, mac) == Some(own)
            && addresses.iter().all(is_best);
        stands.then_some(own)
    }

    /// The highest sequence known of a MAC and of the owners of addresses.
    fn highest(&self, network: NetworkId, mac: Mac, addresses: &[IpAddr]) -> Sequence {
        let of_mac = self.claims.highest(network, mac);
        let buried = self.memory.highest(network, mac);
        let of_addresses = addresses
            .iter()
            .filter_map(|address| self.claims.owner(network, *address))
            .map(|record| record.sequence);
        of_addresses.fold(of_mac.max(buried), Sequence::max)
    }

    fn install(&mut self, now: Time, record: Record) {
        let (network, mac) = (record.network, record.mac);
        let before = self.claims.best(network, mac).map(|best| best.host.clone());
        self.claims.insert(record, &mut self.news.touched);
        self.counts.installed += 1;
        self.note_move(now, network, mac, before);
    }

    /// Removes a record that the withdrawal covers, and remembers; false when it said nothing new.
    fn remove(&mut self, now: Time, withdrawal: &Withdrawal) -> bool {
        let Withdrawal {
            network, mac, host, ..
        } = withdrawal;
        let key = (withdrawal.epoch, withdrawal.sequence);
        let until = now + self.config.tombstone;
        let is_new = self.memory.bury(until, (*network, *mac, host.clone()), key);
        let held = self.claims.of_host(*network, *mac, host);
        if held.is_some_and(|held| (held.epoch, held.sequence) <= key) {
            self.take_out(now, *network, *mac, host);
            return true;
        }
        is_new
    }

    fn take_out(&mut self, now: Time, network: NetworkId, mac: Mac, host: &HostId) {
        let before = self.claims.best(network, mac).map(|best| best.host.clone());
        self.claims
            .remove(network, mac, host, &mut self.news.touched);
        self.counts.withdrawn += 1;
        self.note_move(now, network, mac, before);
    }

    fn note_move(&mut self, now: Time, network: NetworkId, mac: Mac, before: Option<HostId>) {
        let after = self.claims.best(network, mac).map(|best| &best.host);
        if before.is_some() && after.is_some() && before.as_ref() != after {
            self.counts.moved += 1;
            self.memory
                .note_move(now, self.config.move_window, network, mac);
        }
    }

    const fn count(&mut self, applied: Applied) {
        match applied {
            Applied::Stale => self.counts.stale += 1,
            Applied::OldEpoch => self.counts.old_epoch += 1,
            Applied::Refused => self.counts.refused += 1,
            Applied::Installed | Applied::Own => {}
        }
    }
}

mod claims;
mod config;
mod lives;
mod memory;
mod news;
#[cfg(test)]
mod tests;
mod touched;
