//! What a host does about what it hears: the acts of `agent-daemon`'s `follow`.

use std::collections::BTreeSet;

use agent_core::record::{EndpointRecord, NetworkRecord};
use agent_core::shared::asks::Ask;
use agent_core::shared::before::Before;
use agent_core::shared::blocks::{network_of, orphans};
use agent_core::shared::checks;
use agent_core::shared::{
    ALIVE, ASKS, AliveRecord, Difference, ENDPOINTS, EndpointShared, Entry, NETWORKS, is_member,
    others,
};
use overlay_core::{DirectoryEvent, Epoch, HostId, Record, RecordFlags, Sequence};
use switch_core::Mac;

use super::super::store::Change;
use super::host::{Host, Session, network_id, put};
use super::managers::{Fault, Net, change};

impl Host {
    /// What is known when the agent starts, before any session.
    pub(crate) fn follow_start(&mut self, net: &Net, mut differences: Vec<Difference>) {
        differences.sort_by_key(order);
        self.adopt_networks(net, puts(&differences));
        for difference in &differences {
            self.follow_quietly(net, difference);
        }
        self.follow_directory();
    }

    pub(crate) fn follow(&mut self, net: &mut Net, mut differences: Vec<Difference>) {
        let is_set_back = self.life().world.take_set_back();
        differences.sort_by_key(order);
        self.adopt_networks(net, puts(&differences));
        for difference in &differences {
            self.follow_one(net, difference);
        }
        if is_set_back {
            self.life().directory.forget_past();
            self.life().says_again = true;
            self.take_in_known(net);
            self.follow_known(net);
        }
        self.follow_directory();
        self.acknowledge(net);
    }

    /// At the beginning of a session, and once more where somebody was not heard.
    pub(crate) fn begin(&mut self, net: &mut Net, session: Session) -> Result<(), Fault> {
        let time = net.time();
        self.life().said_followed = 0;
        self.life().directory.renew(time, Epoch(session.epoch));
        self.mind_all_gone(net);
        self.take_in_known(net);
        let shared = self.share_everything(net, session);
        self.follow_directory();
        self.acknowledge(net);
        if shared.is_ok() {
            self.disk.era = self.life().era;
        }
        shared
    }

    pub(crate) fn tend(&mut self, net: &mut Net) -> Result<(), Fault> {
        for id in self.shared_networks() {
            self.tend_blocks(net, &id)?;
        }
        Ok(())
    }

    pub(crate) fn settle(&mut self) {
        for id in self.shared_networks() {
            self.settle_place(&id);
        }
    }

    pub(crate) fn settle_place(&mut self, id: &str) {
        let own = self.id.clone();
        let agent = self.life();
        let pools = agent.pools.get_mut(id).unwrap();
        others::settle(pools, &agent.world, &own, id);
        self.settle_blocks(id);
    }

    pub(crate) fn shared_networks(&self) -> Vec<String> {
        let networks = self.disk.networks.values();
        let shared = networks.filter(|record| record.shared().is_some());
        shared.map(|record| record.id.clone()).collect()
    }

    /// Whether the others are to know of an endpoint.
    pub(crate) fn has_part(&self, record: &EndpointRecord) -> bool {
        let agent = self.agent.as_ref();
        let is_cut_off = agent.is_some_and(|agent| agent.cut_off.contains(&record.id));
        self.has_network(&record.network) && !is_cut_off
    }

    pub(crate) fn endpoints_of(&self, network: &str) -> Vec<EndpointRecord> {
        let all = self.disk.endpoints.values();
        all.filter(|record| record.network == network)
            .cloned()
            .collect()
    }

    fn follow_known(&mut self, net: &mut Net) {
        let places = |entry: &&Entry| {
            [ALIVE, ENDPOINTS]
                .iter()
                .any(|kind| entry.key.starts_with(kind))
        };
        let known: Vec<Entry> = self.world().entries().filter(places).cloned().collect();
        for entry in known {
            self.follow_one(net, &Difference::Put(entry));
        }
    }

    fn follow_one(&mut self, net: &mut Net, difference: &Difference) {
        let (entry, is_there) = parts(difference);
        if let Some(id) = entry.key.strip_prefix(NETWORKS) {
            if !is_there {
                self.network_gone(net, id);
            }
        } else if entry.key.starts_with(ASKS) {
            if is_there && self.session().is_some() && Ask::of_entry(entry, &self.id).is_some() {
                self.life().asked.push_back(entry.clone());
            }
        } else if is_there && self.is_stray(entry) {
            let key = entry.key.clone();
            let untold = Change {
                before: Some(Before::of(entry)),
                ..change(key, None)
            };
            let done = self.transact(net, vec![untold]);
            self.life().says_again |= done == Err(Fault::Unreachable);
        } else {
            self.follow_quietly(net, difference);
        }
    }

    /// Whether the store has an endpoint of this host that is gone here.
    fn is_stray(&self, entry: &Entry) -> bool {
        let Some(rest) = entry.key.strip_prefix(ENDPOINTS) else {
            return false;
        };
        let (_, id) = rest.split_once('/').unwrap();
        let shared: EndpointShared = entry.decode().unwrap();
        let is_here = self.disk.endpoints.contains_key(id);
        shared.host == self.id && !is_here && self.session().is_some()
    }

    /// What leads to no call.
    pub(crate) fn follow_quietly(&mut self, net: &Net, difference: &Difference) {
        let (entry, is_there) = parts(difference);
        let time = net.time();
        if let Some(rest) = entry.key.strip_prefix(ENDPOINTS) {
            let shared: EndpointShared = entry.decode().unwrap();
            let (network, id) = rest.split_once('/').unwrap();
            self.follow_endpoint(net, (&entry.key, network, id), &shared, is_there);
        } else if let Some(network) = network_of(entry) {
            self.follow_blocks(network);
            self.judge_again(net, network);
        } else if let Some(host) = entry.key.strip_prefix(ALIVE) {
            let alive: AliveRecord = entry.decode().unwrap();
            checks::check_alive(host, &alive).unwrap();
            if is_there {
                let host = HostId::new(host).unwrap();
                let epoch = Epoch(self.world().epoch(entry.revision));
                self.life().directory.host_lives(&host, epoch);
            }
            if !is_there {
                let host = HostId::new(host).unwrap();
                // Not a life of which nothing is known yet.
                let over = Epoch(self.world().epoch(entry.revision));
                let directory = &mut self.life().directory;
                let known = directory.epoch_of(&host).unwrap_or(over);
                directory.host_gone(time, &host, known.min(over));
            }
        }
    }

    fn follow_blocks(&mut self, network: &str) {
        if !self.has_network(network) || self.session().is_none() {
            return;
        }
        self.settle_blocks(network);
        let own = self.life().pools[network].owned();
        let cut_off = self.life().cut_off.clone();
        let is_out_of_place = self.endpoints_of(network).iter().any(|record| {
            let addresses = record.addresses();
            let mut addresses = addresses.iter();
            let is_own = addresses.all(|address| own.iter().any(|block| block.contains(address)));
            is_own == cut_off.contains(&record.id)
        });
        self.life().says_again |= is_out_of_place;
    }

    fn judge_again(&mut self, net: &Net, network: &str) {
        let prefix = format!("{ENDPOINTS}{network}/");
        let refused: Vec<String> = self
            .life()
            .refused
            .iter()
            .filter(|key| key.starts_with(&prefix))
            .cloned()
            .collect();
        for key in refused {
            if let Some(entry) = self.world().entry(&key).cloned() {
                self.follow_quietly(net, &Difference::Put(entry));
            }
        }
    }

    fn follow_endpoint(
        &mut self,
        net: &Net,
        (key, network, id): (&str, &str, &str),
        shared: &EndpointShared,
        is_there: bool,
    ) {
        let Some(record) = self.disk.networks.get(network).cloned() else {
            return;
        };
        let own = self.id.clone();
        if shared.host == own {
            let present = self.disk.endpoints.get(id).cloned();
            let present = present.filter(|_| record.shared().is_some());
            if let (false, Some(present), Some(_)) = (is_there, present, self.session()) {
                self.announce(net, &present, shared.sequence.saturating_add(1));
                self.life().says_again = true;
            }
            return;
        }
        if is_there && !is_member(self.world(), &shared.host) {
            return;
        }
        let checked = checks::check_endpoint(&record, id, shared).and_then(|()| match is_there {
            true => checks::check_claimed(self.world(), network, shared),
            false => Ok(()),
        });
        if checked.is_err() {
            self.life().refused.insert(key.to_owned());
            return;
        }
        let time = net.time();
        self.life().refused.remove(key);
        let endpoints = self.endpoints_of(network).into_iter();
        let alike = endpoints.filter(|own| own.mac == shared.mac);
        let cut_off = &self.agent.as_ref().unwrap().cut_off;
        let mut news = alike.map(|own| match is_there {
            true => !cut_off.contains(&own.id) && self.has_lost_mac(&own),
            false => cut_off.contains(&own.id),
        });
        let is_news = news.any(|is_news| is_news);
        let agent = self.life();
        agent.says_again |= is_news;
        if record.shared().is_none() {
            return;
        }
        let pools = agent.pools.get_mut(network).unwrap();
        others::note(pools, &agent.world, &own, shared, is_there);
        let record = Record {
            network: network_id(network),
            mac: Mac::new(shared.mac),
            addresses: shared.addresses(),
            host: HostId::new(&shared.host).unwrap(),
            epoch: Epoch(shared.epoch),
            sequence: Sequence(shared.sequence),
            flags: sticky(),
        };
        // What it said in a store of before went when it began another life.
        let known = agent.directory.epoch_of(&record.host);
        let is_void = known.is_some_and(|known| known < record.epoch);
        match is_there {
            true => drop(agent.directory.apply(time, record)),
            false if is_void => {}
            false => drop(agent.directory.apply_withdrawal(time, &record.withdrawal())),
        }
    }

    /// Ports are what the directory says.
    pub(crate) fn follow_directory(&mut self) {
        while let Some(event) = self.life().directory.poll_event() {
            match event {
                DirectoryEvent::FloodJoin { network, host } => {
                    let record = self.disk.networks.get(&network.to_string());
                    if let Some(vni) = record.and_then(NetworkRecord::vni_shared) {
                        self.life().ports.insert((vni.value(), host), network);
                    }
                }
                DirectoryEvent::FloodLeave { network, host } => {
                    let ports = &mut self.life().ports;
                    ports.retain(|(_, far), at| *far != host || *at != network);
                }
                DirectoryEvent::Endpoint { .. } | DirectoryEvent::EndpointGone { .. } => {}
            }
        }
    }

    pub(crate) fn announce(
        &mut self,
        net: &Net,
        record: &EndpointRecord,
        floor: u32,
    ) -> Option<u32> {
        let place = (network_id(&record.network), Mac::new(record.mac));
        let floor = Sequence(floor);
        let directory = &mut self.life().directory;
        let announced = directory.announce(net.time(), place, &record.addresses(), sticky(), floor);
        announced.ok().map(|record| record.sequence.0)
    }

    /// Tells the others of an endpoint that has its port.
    pub(crate) fn share(&mut self, net: &mut Net, record: &EndpointRecord) {
        let session = self.session();
        let floor = session.map_or(0, |session| session.floor);
        let (Some(sequence), Some(session)) = (self.announce(net, record, floor), session) else {
            return;
        };
        let told = self.telling(record, sequence, session);
        if self.transact(net, vec![told]).is_err() {
            self.life().says_again = true;
        }
    }

    pub(crate) fn unshare(&mut self, net: &mut Net, record: &EndpointRecord) {
        let time = net.time();
        let (network, mac) = (network_id(&record.network), Mac::new(record.mac));
        self.life().directory.withdraw(time, network, mac);
        if self.session().is_none() {
            return;
        }
        let key = format!("{ENDPOINTS}{}/{}", record.network, record.id);
        if self.transact(net, vec![change(key, None)]).is_err() {
            self.life().says_again = true;
        }
    }

    fn share_everything(&mut self, net: &mut Net, session: Session) -> Result<(), Fault> {
        let here: BTreeSet<String> = self.shared_networks().into_iter().collect();
        self.sweep(net, |network| !here.contains(network), &BTreeSet::new())?;
        for network in here {
            let whole = self.hold_addresses(net, &network)?;
            let present = whole.iter().map(|record| record.id.clone()).collect();
            self.sweep(net, |of| of == network, &present)?;
            let mut changes = Vec::new();
            for record in whole {
                let floor = self.floor(session, &record);
                if let Some(sequence) = self.announce(net, &record, floor) {
                    changes.push(self.telling(&record, sequence, session));
                }
            }
            if !changes.is_empty() {
                self.transact(net, changes)?;
            }
            self.tend_blocks(net, &network)?;
        }
        let orphans = orphans(self.world()).into_iter();
        let orphans: Vec<Change> = orphans.map(|key| change(key, None)).collect();
        if !orphans.is_empty() {
            self.transact(net, orphans)?;
        }
        let own = self.id.clone();
        let asks = self.world().entries_under(ASKS);
        let open = asks.filter(|(_, entry)| Ask::of_entry(entry, &own).is_some());
        let open: Vec<Entry> = open.map(|(_, entry)| entry.clone()).collect();
        self.life().asked.extend(open);
        self.mend_cut_off(net);
        Ok(())
    }

    /// Deletes what the store has of this host in some networks, and is not present.
    fn sweep(
        &mut self,
        net: &mut Net,
        is_swept: impl Fn(&str) -> bool,
        present: &BTreeSet<String>,
    ) -> Result<(), Fault> {
        let told = self.world().under::<EndpointShared>(ENDPOINTS);
        let own = told.filter(|(_, shared)| shared.host == self.id);
        let networks: BTreeSet<String> = own
            .filter_map(|(key, _)| Some(key.split_once('/')?.0.to_owned()))
            .filter(|network| is_swept(network))
            .collect();
        for network in networks {
            let strays =
                others::strays(self.world(), &self.id, &network, |id| present.contains(id));
            for endpoint in strays {
                let key = format!("{ENDPOINTS}{network}/{endpoint}");
                self.transact(net, vec![change(key, None)])?;
            }
        }
        Ok(())
    }

    fn floor(&self, session: Session, record: &EndpointRecord) -> u32 {
        let key = format!("{ENDPOINTS}{}/{}", record.network, record.id);
        let told = self.world().find::<EndpointShared>(&key);
        let told = told.map(|(told, _)| told);
        let own = told.filter(|told| told.host == self.id && told.epoch == session.epoch);
        match own {
            Some(told) if told.mac == record.mac && told.addresses() == record.addresses() => {
                told.sequence
            }
            Some(told) => session.floor.max(told.sequence.saturating_add(1)),
            None => session.floor,
        }
    }

    fn telling(&self, record: &EndpointRecord, sequence: u32, session: Session) -> Change {
        let shared = EndpointShared {
            host: self.id.clone(),
            epoch: session.epoch,
            sequence,
            mac: record.mac,
            ipv4: record.ipv4,
            ipv6: record.ipv6,
            name: record.name.clone(),
            aliases: Vec::new(),
            hostname: None,
            short_id: None,
            services: Vec::new(),
            vlan: None,
            trunk: None,
        };
        let key = format!("{ENDPOINTS}{}/{}", record.network, record.id);
        put(key, &shared, Some(session.lease))
    }
}

fn parts(difference: &Difference) -> (&Entry, bool) {
    match difference {
        Difference::Put(entry) => (entry, true),
        Difference::Deleted(entry) => (entry, false),
    }
}

fn puts(differences: &[Difference]) -> Vec<NetworkRecord> {
    let puts = differences.iter().map(parts);
    let networks = puts.filter(|(entry, is_there)| *is_there && entry.key.starts_with(NETWORKS));
    networks.map(|(entry, _)| entry.decode().unwrap()).collect()
}

/// A network comes before what is in it, and goes after it.
fn order(difference: &Difference) -> u8 {
    let (entry, is_there) = parts(difference);
    match (entry.key.starts_with(NETWORKS), is_there) {
        (true, true) => 0,
        (false, true) => 1,
        (false, false) => 2,
        (true, false) => 3,
    }
}

fn sticky() -> RecordFlags {
    RecordFlags {
        sticky: true,
        ..RecordFlags::default()
    }
}
