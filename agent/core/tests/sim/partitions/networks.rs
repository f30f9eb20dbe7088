//! Networks of the cluster on a host: made, removed, adopted, put back, and cut off.

use std::collections::BTreeSet;

use agent_core::ipam::{Pools, SubnetInUse};
use agent_core::network::{self, CreateNetwork, Surroundings};
use agent_core::record::{Encap, NetworkRecord, OverlayRecord};
use agent_core::shared::adoption::check_adoption;
use agent_core::shared::asks::Ask;
use agent_core::shared::blocks::Blocks;
use agent_core::shared::holdings::first_blocks;
use agent_core::shared::networks::{self, Rest, Write};
use agent_core::shared::{
    ALIVE, BLOCKS, ENDPOINTS, EndpointShared, Entry, FOLLOWED, HOSTS, NAMES, NETWORKS,
    NETWORKS_MADE, REVOKED, VNIS, World,
};
use overlay_core::HostId;

use super::super::store::Change;
use super::host::{Host, network_id, put};
use super::managers::{Fault, Net, change};

/// What somebody asks for.
#[derive(Clone)]
pub(crate) struct Wished {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) subnet: String,
    pub(crate) vni: Option<u32>,
}

impl Host {
    pub(crate) fn has_network(&self, id: &str) -> bool {
        let record = self.disk.networks.get(id);
        record.is_some_and(|record| record.shared().is_some())
    }

    /// Networks that this host knows by name: all but what is left of those that were removed.
    fn named(&self) -> impl Iterator<Item = &NetworkRecord> + Clone {
        let all = self.disk.networks.values();
        all.filter(|record| !record.is_cut_off())
    }

    /// The network, if the store has said that it is made.
    pub(crate) fn create(&mut self, net: &mut Net, wished: &Wished) -> Option<NetworkRecord> {
        self.session()?;
        let rest = self.rest(net);
        let made = self.decide(net, |host, world| host.plan(world, wished, rest));
        let record = made.ok()?;
        self.take_in(&record);
        let prefix = format!("{BLOCKS}{}/", record.id);
        if let Ok((listed, _)) = self.access.list(net) {
            let pages = listed.into_iter();
            for page in pages.filter(|page| page.key.starts_with(&prefix)) {
                self.learn_now(net, page);
            }
        }
        self.settle_blocks(&record.id);
        self.follow_directory();
        Some(record)
    }

    fn plan(
        &self,
        world: &World,
        wished: &Wished,
        rest: Rest,
    ) -> Result<(NetworkRecord, Vec<Write>), CreateNetwork> {
        if self.named().any(|record| record.name == wished.name) {
            return Err(CreateNetwork::NameTaken(wished.name.clone()));
        }
        let here = self.named().flat_map(|record| {
            record.subnets.iter().map(|subnet| SubnetInUse {
                subnet: subnet.net,
                by: record.name.clone(),
            })
        });
        let record = planned(wished, here.chain(networks::in_use(world, "")).collect())?;
        if let Some(vni) = wished.vni {
            network::check_vni(self.named(), vni)?;
        }
        let (record, mut writes) = networks::create(world, record, wished.vni, rest)?;
        writes.extend(first_pages(world, &record));
        Ok((record, writes))
    }

    pub(crate) fn remove(&mut self, net: &mut Net, id: &str) {
        let record = self.disk.networks[id].clone();
        let users = format!("{ENDPOINTS}{id}/");
        let is_used = {
            let mut told = self.world().under::<EndpointShared>(&users);
            told.any(|(_, shared)| shared.host != self.id)
        };
        let is_used_here = !self.endpoints_of(id).is_empty() || self.is_wanted(id);
        if is_used || is_used_here || self.session().is_none() {
            return;
        }
        let now_s = self.rest(net).now_s;
        let removed = self.decide(net, |_, world| {
            Ok(((), networks::remove(world, &record, now_s)?))
        });
        let key = format!("{NETWORKS}{id}");
        // Another host may have put it back, where the store had lost it.
        if removed.is_ok() && self.access.get(net, &key) == Ok(None) {
            let is_forgotten = self.forget_addresses(net, id).is_ok();
            self.life().says_again |= !is_forgotten;
            self.drop_network(id);
        }
    }

    fn forget_addresses(&mut self, net: &mut Net, id: &str) -> Result<(), Fault> {
        let (listed, _) = self.access.list(net)?;
        let pages = format!("{BLOCKS}{id}/");
        let is_of_it = |entry: &Entry| {
            let ask = Ask::of_key(&entry.key);
            entry.key.starts_with(&pages) || ask.is_some_and(|ask| ask.network == id)
        };
        let held = listed.into_iter().filter(is_of_it);
        let changes: Vec<Change> = held.map(|entry| change(entry.key, None)).collect();
        match changes.is_empty() {
            true => Ok(()),
            false => self.transact(net, changes).map(drop),
        }
    }

    /// Does what `plan` says, by what is known here; where another host was faster, by what the store has then.
    fn decide<T>(
        &mut self,
        net: &mut Net,
        mut plan: impl FnMut(&Self, &World) -> Result<(T, Vec<Write>), CreateNetwork>,
    ) -> Result<T, CreateNetwork> {
        let mut world = World::of(self.world().entries().cloned().collect());
        for attempt in 0..ATTEMPTS_MAX {
            match plan(self, &world) {
                Ok((done, writes)) if writes.is_empty() => return Ok(done),
                Ok((done, writes)) => match self.transact(net, changes(writes)) {
                    Ok(_) => return Ok(done),
                    Err(Fault::Changed) => {}
                    Err(fault) => return Err(CreateNetwork::Store(format!("{fault:?}"))),
                },
                Err(error) if attempt == 0 && !error.is_of_store() => {}
                Err(error) => return Err(error),
            }
            world = self.read(net)?;
        }
        Err(CreateNetwork::Race)
    }

    fn read(&mut self, net: &mut Net) -> Result<World, CreateNetwork> {
        let (listed, _) = self
            .access
            .list(net)
            .map_err(|fault| CreateNetwork::Store(format!("{fault:?}")))?;
        let is_of =
            |kinds: &[&str], entry: &Entry| kinds.iter().any(|kind| entry.key.starts_with(kind));
        let fresh = [NETWORKS_MADE, NETWORKS, NAMES, VNIS, FOLLOWED];
        let known = [HOSTS, ALIVE, REVOKED];
        let here = self.world().entries().filter(|entry| is_of(&known, entry));
        let there = listed.iter().filter(|entry| is_of(&fresh, entry));
        Ok(World::of(here.chain(there).cloned().collect()))
    }

    // Following.

    pub(crate) fn adopt_networks(&mut self, net: &Net, wanted: Vec<NetworkRecord>) {
        let obstacles = networks::hosts(self.world());
        for record in wanted {
            if self.has_network(&record.id) {
                self.renumber(&record);
            } else if self.disk.networks.contains_key(&record.id)
                || check_adoption(&record, self.named(), &obstacles).is_err()
            {
                self.life().kept_out.insert(record.id);
            } else {
                self.life().kept_out.remove(&record.id);
                self.take_in(&record);
                self.follow_network(net, &record.id);
            }
        }
    }

    fn take_in(&mut self, record: &NetworkRecord) {
        if self.has_network(&record.id) {
            return;
        }
        let mut pools = Pools::of(record).unwrap();
        pools.own(&[]);
        self.disk.networks.insert(record.id.clone(), record.clone());
        let agent = self.life();
        agent.pools.insert(record.id.clone(), pools);
        agent.directory.attach_network(network_id(&record.id));
    }

    fn follow_network(&mut self, net: &Net, id: &str) {
        let prefix = format!("{ENDPOINTS}{id}/");
        let known = self.world().entries_under(&prefix);
        let known: Vec<Entry> = known.map(|(_, entry)| entry.clone()).collect();
        for entry in known {
            self.follow_quietly(net, &agent_core::shared::Difference::Put(entry));
        }
        if self.session().is_some() {
            self.settle_place(id);
        }
    }

    /// The network has another VNI from now on.
    fn renumber(&mut self, record: &NetworkRecord) {
        let here = self.disk.networks.get_mut(&record.id).unwrap();
        if here.vni_shared() == record.vni_shared() {
            return;
        }
        here.overlay.clone_from(&record.overlay);
        let (network, vni) = (network_id(&record.id), record.vni_shared().unwrap());
        let ports = &mut self.life().ports;
        let hosts: Vec<HostId> = ports
            .extract_if(.., |_, at| *at == network)
            .map(|((_, host), _)| host)
            .collect();
        ports.extend(hosts.into_iter().map(|host| ((vni.value(), host), network)));
    }

    fn look_again(&mut self, net: &Net) {
        if !self.life().kept_out.is_empty() {
            self.take_in_known(net);
            self.follow_directory();
        }
    }

    pub(crate) fn take_in_known(&mut self, net: &Net) {
        let wanted = self.world().under::<NetworkRecord>(NETWORKS);
        let wanted: Vec<_> = wanted.map(|(_, record)| record).collect();
        self.adopt_networks(net, wanted);
    }

    pub(crate) fn network_gone(&mut self, net: &mut Net, id: &str) {
        self.life().kept_out.remove(id);
        if self.has_network(id) {
            self.mind_gone(net, id);
        }
        self.look_again(net);
    }

    fn mind_gone(&mut self, net: &mut Net, id: &str) {
        let record = self.disk.networks[id].clone();
        if !networks::was_removed(self.world(), &record) {
            if self.session().is_none() {
                return;
            }
            let (rest, key) = (self.rest(net), format!("{NETWORKS}{id}"));
            let back = self.decide(net, |_, world| match world.find(&key) {
                Some((back, _)) => Ok((back, Vec::new())),
                None => networks::put_back(world, &record, rest),
            });
            match back {
                Ok(back) => return self.renumber(&back),
                Err(error) if error.is_of_store() => {
                    self.life().says_again = true;
                    return;
                }
                Err(_) => {}
            }
        }
        self.abandon(net, id);
    }

    /// The network goes, or what is left of it is cut off.
    fn abandon(&mut self, net: &mut Net, id: &str) {
        if self.endpoints_of(id).is_empty() && !self.is_wanted(id) {
            return self.drop_network(id);
        }
        self.give_up(id);
        let record = self.disk.networks.get_mut(id).unwrap();
        *record = record.cut_off();
        let network = network_id(id);
        let agent = self.life();
        agent.directory.forget_network(network);
        agent.ports.retain(|_, at| *at != network);
        for endpoint in self.endpoints_of(id) {
            self.unshare(net, &endpoint);
        }
        self.drop_if_left(id);
    }

    pub(crate) fn drop_if_left(&mut self, id: &str) {
        let record = self.disk.networks.get(id);
        if record.is_some_and(NetworkRecord::is_cut_off) && self.endpoints_of(id).is_empty() {
            self.drop_network(id);
        }
    }

    fn drop_network(&mut self, id: &str) {
        let network = network_id(id);
        self.disk.networks.remove(id);
        self.disk.owned.remove(id);
        let agent = self.life();
        agent.pools.remove(id);
        agent.withheld.remove(id);
        agent.directory.forget_network(network);
        agent.ports.retain(|_, at| *at != network);
    }

    pub(crate) fn mind_all_gone(&mut self, net: &mut Net) {
        let all: Vec<String> = self.disk.networks.keys().cloned().collect();
        for id in all {
            let is_known = self.world().contains(&format!("{NETWORKS}{id}"));
            match self.has_network(&id) {
                true if !is_known => self.mind_gone(net, &id),
                true => {}
                false => self.drop_if_left(&id),
            }
        }
        self.look_again(net);
    }

    pub(crate) fn acknowledge(&mut self, net: &mut Net) {
        if self.session().is_none() {
            return;
        }
        let Some((followed, key)) = networks::to_acknowledge(self.world(), &self.id) else {
            return;
        };
        let removed: BTreeSet<String> = networks::removed(self.world()).collect();
        let is_here = removed.iter().any(|id| self.has_network(id));
        if is_here || self.life().said_followed >= followed.revision {
            return;
        }
        if self.transact(net, vec![put(key, &followed, None)]).is_ok() {
            self.life().said_followed = followed.revision;
        }
    }
}

fn planned(wished: &Wished, in_use: Vec<SubnetInUse>) -> Result<NetworkRecord, CreateNetwork> {
    let request = agent_api::NetworkCreate {
        name: wished.name.clone(),
        driver: agent_api::Driver::Overlay,
        subnets: vec![wished.subnet.parse().unwrap()],
        ..agent_api::NetworkCreate::default()
    };
    let around = Surroundings {
        networks: in_use,
        host: Vec::new(),
        pools_v4: Vec::new(),
        pools_v6: Vec::new(),
        mtu_max: None,
    };
    let overlay = OverlayRecord {
        vni: wished.vni.unwrap_or_default(),
        encap: Encap::Quic,
        remotes: Vec::new(),
    };
    network::plan(wished.id.clone(), request, Some(overlay), &around)
}

/// A block for each host that is alive.
fn first_pages(world: &World, record: &NetworkRecord) -> Vec<Write> {
    let blocks = Blocks::of(world, &record.id, record.subnets[0].net);
    let members = blocks.members().keys();
    let alive = members.filter(|host| world.contains(&format!("{ALIVE}{host}")));
    let alive: Vec<String> = alive.cloned().collect();
    let pools = Pools::of(record).unwrap();
    let first = first_blocks(&blocks, pools.v4.as_ref().unwrap(), &alive);
    let pages = blocks.assign(&first).into_iter();
    let write = |page: agent_core::shared::blocks::WritePage| Write {
        key: page.key,
        before: Some(page.before),
        value: serde_json::to_value(page.record).ok(),
    };
    pages.map(write).collect()
}

fn changes(writes: Vec<Write>) -> Vec<Change> {
    let change = |write: Write| Change {
        key: write.key,
        before: write.before,
        value: write.value,
        lease: None,
    };
    writes.into_iter().map(change).collect()
}

const ATTEMPTS_MAX: usize = 64;
