//! What must hold: always, and when everything works again.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::ipam::block::overlap;
use agent_core::record::NetworkRecord;
use agent_core::shared::adoption::check_adoption;
use agent_core::shared::blocks::network_of;
use agent_core::shared::networks::{self, VniRecord};
use agent_core::shared::others::holder_of_mac;
use agent_core::shared::{
    ALIVE, BLOCKS, ENDPOINTS, EndpointShared, Entry, NAMES, NETWORKS, PageRecord, VNIS, World,
};
use overlay_core::HostId;
use switch_core::Mac;

use super::cluster::Cluster;
use super::host::{Host, network_id};
use super::managers::name;

impl Cluster {
    // Always.

    pub(crate) fn check_always(&mut self) {
        let mut denied = std::mem::take(&mut self.net.denied);
        // Of two hosts where somebody chose one MAC at one moment.
        denied.retain(|why| !why.contains("the MAC is another"));
        // Who has not heard that the store was set back speaks of what is no more.
        assert!(self.is_mixed || denied.is_empty(), "denied: {denied:?}");
        self.check_in_step();
        self.check_frames();
        self.check_networks();
        if !self.is_mixed {
            self.check_addresses();
        }
    }

    /// Whoever reaches a manager that reaches most of the others is in step before long.
    fn check_in_step(&self) {
        for host in &self.hosts {
            let waited_ms = self.net.now_ms - self.late_since[host.number];
            let is_late = host.agent.is_some() && host.session().is_none();
            assert!(
                !is_late || waited_ms < IN_STEP_MS,
                "{} is not in step",
                host.id
            );
        }
    }

    /// A frame that a host sends comes out in no other network, whatever its sender and its receiver have heard.
    pub(crate) fn check_frames(&self) {
        if self.is_mixed {
            return;
        }
        for (from, sender) in self.hosts.iter().enumerate() {
            for ((vni, to), network) in sender.agent.iter().flat_map(|agent| &agent.ports) {
                let receiver = self.hosts.iter().find(|host| host.id == to.as_str());
                let receiver = receiver.unwrap();
                let far = (*vni, HostId::new(&sender.id).unwrap());
                let agent = receiver.agent.as_ref();
                let Some(lands) = agent.and_then(|agent| agent.ports.get(&far)) else {
                    continue;
                };
                if self.net.wires.carry(from, receiver.number) {
                    assert_eq!(lands, network, "VNI {vni} from {} on {to}", sender.id);
                }
            }
        }
    }

    /// Names, VNIs and subnets are one network's each, in the store.
    fn check_networks(&self) {
        let world = World::of(self.net.store.list());
        let all = records(&world);
        for record in &all {
            let key = format!("{VNIS}{}", vni_of(record));
            let (owner, _) = world.find::<VniRecord>(&key).unwrap();
            assert_eq!(
                (&owner.network, owner.removed_s),
                (&record.id, None),
                "{key}"
            );
            let key = format!("{NAMES}{}", record.name);
            assert_eq!(world.find::<String>(&key).unwrap().0, record.id, "{key}");
            let others = all.iter().filter(|other| other.id != record.id);
            check_adoption(record, others, &[]).unwrap();
        }
    }

    /// No address, and no MAC, is two hosts'; nobody gives out what is another's, whoever hears of whom.
    fn check_addresses(&self) {
        let mut held = BTreeMap::new();
        let mut owned: Vec<(&str, &str, ipnet::IpNet)> = Vec::new();
        let present = self.hosts.iter();
        for host in present.filter(|host| !host.is_of_the_past(&self.net)) {
            let is_cut_off = |id: &str| {
                let agent = host.agent.as_ref();
                agent.is_some_and(|agent| agent.cut_off.contains(id))
            };
            for record in host.disk.endpoints.values() {
                // What is left of a removed network reaches nobody.
                if !host.has_network(&record.network) || is_cut_off(&record.id) {
                    continue;
                }
                for what in record.addresses().iter().map(ToString::to_string) {
                    let other = held.insert((&record.network, what.clone()), &host.id);
                    assert_eq!(other, None, "{what} is also held by {}", host.id);
                }
                // Who has not heard yet may choose one that another host has.
                if !host.has_heard_all(&self.net) {
                    continue;
                }
                let mac = Mac::new(record.mac).to_string();
                let other = held.insert((&record.network, mac.clone()), &host.id);
                assert_eq!(other, None, "{mac} is also held by {}", host.id);
            }
            let owning = host.disk.owned.iter();
            for (network, blocks) in owning.filter(|(network, _)| host.has_network(network)) {
                for block in blocks {
                    let taken = owned.iter().find(|(of, other, taken)| {
                        of == network && *other != host.id && overlap(*taken, *block)
                    });
                    assert_eq!(taken, None, "{} owns {block} too", host.id);
                    owned.push((network, &host.id, *block));
                }
            }
        }
    }

    // When everything works again.

    pub(crate) fn check_settled(&mut self) {
        self.hear_out();
        self.check_always();
        assert!(
            !self.is_mixed,
            "somebody has not heard that the store was set back"
        );
        let world = World::of(self.net.listed());
        self.check_made(&world);
        self.check_promised();
        for host in &self.hosts {
            self.check_host(host, &world);
            self.check_directory(host);
        }
        self.check_keys(&world);
    }

    fn check_made(&self, world: &World) {
        let all = records(world);
        for (id, record) in &self.made {
            let is_there = all.iter().any(|other| other.id == *id);
            // After the store was set back, another one may have its name or its subnet.
            let is_in_the_way = check_adoption(record, all.iter(), &[]).is_err();
            assert!(
                is_there || is_in_the_way,
                "network {:?} was lost",
                record.name
            );
        }
    }

    fn check_promised(&self) {
        for (id, host) in &self.promised {
            let is_there = self.hosts[*host].disk.endpoints.contains_key(id);
            assert!(is_there, "endpoint {id} of {} was lost", name(*host));
        }
    }

    /// It knows what the store has, and has what it is to have.
    fn check_host(&self, host: &Host, world: &World) {
        let (id, agent) = (&host.id, host.agent.as_ref().unwrap());
        assert!(agent.session.is_some(), "{id} is out of step");
        assert!(
            agent.wanting.is_empty() && agent.asked.is_empty(),
            "{id} has not come to rest"
        );
        let cut_off = agent.cut_off.iter().map(|id| &host.disk.endpoints[id]);
        for record in cut_off {
            let holder = holder_of_mac(world, id, &record.network, record.mac);
            assert!(holder.is_some(), "{} of {id} is cut off", record.name);
        }
        let differs = agent
            .world
            .entries()
            .find(|entry| world.entry(&entry.key) != Some(*entry));
        assert_eq!(differs, None, "{id} knows what is not so");
        let unknown = world
            .entries()
            .find(|entry| agent.world.entry(&entry.key).is_none());
        assert_eq!(unknown, None, "{id} does not know");
        assert_eq!(
            networks::to_acknowledge(&agent.world, id),
            None,
            "{id} is awaited"
        );
        let left: BTreeSet<&String> = host
            .disk
            .networks
            .keys()
            .filter(|id| !host.has_network(id))
            .collect();
        let all = records(world);
        let expected = all.iter().filter(|record| !left.contains(&record.id));
        let expected: BTreeMap<&String, &NetworkRecord> =
            expected.map(|record| (&record.id, record)).collect();
        let here = host
            .disk
            .networks
            .iter()
            .filter(|(id, _)| !left.contains(id));
        assert_eq!(
            here.collect::<BTreeMap<_, _>>(),
            expected,
            "{id} has other networks"
        );
        for network in expected.keys() {
            let prefix = format!("{BLOCKS}{network}/");
            let pages = world.under::<PageRecord>(&prefix);
            let owners = pages.flat_map(|(_, page)| page.owners);
            let mut own: Vec<_> = owners
                .filter(|(_, owner)| owner == id)
                .map(|(block, _)| block)
                .collect();
            own.sort();
            assert_eq!(
                agent.pools[*network].owned(),
                own,
                "{id} does not know what it owns"
            );
        }
    }

    /// It finds every endpoint of the others, and nothing else.
    fn check_directory(&self, host: &Host) {
        let agent = host.agent.as_ref().unwrap();
        let mut ports = BTreeSet::new();
        let mut records = 0;
        for other in &self.hosts {
            for record in other.disk.endpoints.values() {
                // Of what is left of a removed network nobody hears, nor of who waits for a MAC.
                let has_part = other.has_part(record);
                if !has_part || !host.has_network(&record.network) {
                    continue;
                }
                records += 1;
                let network = network_id(&record.network);
                let found = agent.directory.locate(network, Mac::new(record.mac));
                let found = found.map(|found| (found.host.to_string(), found.addresses.clone()));
                let expected = Some((other.id.clone(), record.addresses()));
                assert_eq!(found, expected, "{} looks for {}", host.id, record.name);
                if other.id != host.id {
                    let vni = vni_of(&host.disk.networks[&record.network]);
                    ports.insert((vni, other.id.clone(), network));
                }
            }
        }
        assert_eq!(
            agent.directory.len(),
            records,
            "{} knows endpoints that are gone",
            host.id
        );
        let open = agent.ports.iter();
        let open = open.map(|((vni, far), network)| (*vni, far.to_string(), *network));
        assert_eq!(
            open.collect::<BTreeSet<_>>(),
            ports,
            "{} has other ports",
            host.id
        );
    }

    /// Every endpoint has its key, and every key its endpoint or host.
    fn check_keys(&self, world: &World) {
        let mut expected = BTreeSet::new();
        for host in &self.hosts {
            expected.insert(format!("{ALIVE}{}", host.id));
            let here = host.disk.endpoints.values();
            let shared = here.filter(|record| host.has_part(record));
            expected.extend(
                shared.map(|record| format!("{ENDPOINTS}{}/{}", record.network, record.id)),
            );
        }
        let mut pages = world.entries().filter_map(network_of);
        let orphan = pages.find(|network| !world.contains(&format!("{NETWORKS}{network}")));
        assert_eq!(orphan, None, "a page without a network");
        let is_leased =
            |entry: &&Entry| entry.key.starts_with(ALIVE) || entry.key.starts_with(ENDPOINTS);
        let there = world.entries().filter(is_leased);
        let there: BTreeSet<String> = there.map(|entry| entry.key.clone()).collect();
        assert_eq!(there, expected, "keys and endpoints differ");
        for (key, shared) in world.under::<EndpointShared>(ENDPOINTS) {
            let host = self
                .hosts
                .iter()
                .find(|host| host.id == shared.host)
                .unwrap();
            let (_, id) = key.split_once('/').unwrap();
            assert_eq!(
                shared.addresses(),
                host.disk.endpoints[id].addresses(),
                "{key}"
            );
        }
    }
}

fn records(world: &World) -> Vec<NetworkRecord> {
    let all = world.under::<NetworkRecord>(NETWORKS);
    all.map(|(_, record)| record).collect()
}

fn vni_of(record: &NetworkRecord) -> u32 {
    record.overlay.as_ref().unwrap().vni
}

/// More than a lease, and some attempts.
const IN_STEP_MS: u64 = 15_000;
