//! Networks of a cluster over a store that may be out of reach and may be set back: hosts make and remove them at any moment, hear of
//! it late, and take it up by the real rules. After every step no VNI may stand for two networks.
//! Everything follows from a seed; a failure prints it.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may read clocks and settings"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use agent_api::Driver;
use agent_core::name::id_of;
use agent_core::network::{self, Surroundings};
use agent_core::record::{Encap, NetworkRecord, OverlayRecord};
use agent_core::shared::adoption::check_adoption;
use agent_core::shared::before::Before;
use agent_core::shared::networks::{self, Rest, VniRecord, Write};
use agent_core::shared::{
    Difference, ENDPOINTS, Entry, Event, HOSTS, Moment, NETWORKS, VNIS, World,
};
use serde_json::json;
use switch_lab::simulation::{Random, seeds, with_seed};

#[test]
fn no_vni_ever_stands_for_two_networks_and_all_hosts_agree_in_the_end() {
    for seed in seeds(SEEDS) {
        with_seed(seed, || {
            let mut cluster = Cluster::new(seed);
            for _ in 0..STEPS {
                cluster.transition();
                cluster.check_frames();
            }
            cluster.settle();
            cluster.check_settled();
        });
    }
}

#[derive(Clone, Default)]
struct Store {
    entries: BTreeMap<String, Entry>,
    revision: u64,
}

struct Host {
    name: String,
    world: World,
    /// By id: what is whole here.
    networks: BTreeMap<String, NetworkRecord>,
    /// Networks that a container here is on.
    attached: BTreeSet<String>,
    /// Networks that were removed while a container here was on them.
    cut_off: BTreeSet<String>,
    reaches: bool,
    /// What the watch has not brought yet; `None`: a list is due.
    unheard: Option<Vec<Event>>,
}

struct Cluster {
    store: Store,
    snapshot: Store,
    hosts: Vec<Host>,
    now_s: u64,
    made: u8,
    random: Random,
    /// Not everybody has heard yet that the store was set back: a host may take an endpoint for one that it was once.
    is_mixed: bool,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let mut store = Store::default();
        for host in 0..HOSTS_COUNT {
            store.revision += 1;
            let key = format!("{HOSTS}h{host}");
            let value = json!({"name": format!("h{host}"), "address": "192.0.2.1", "joined_s": 0});
            let revision = store.revision;
            let entry = Entry {
                key: key.clone(),
                value,
                revision,
            };
            store.entries.insert(key, entry);
        }
        let host = |number| Host {
            name: format!("h{number}"),
            world: World::default(),
            networks: BTreeMap::new(),
            attached: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            reaches: true,
            unheard: None,
        };
        Self {
            snapshot: store.clone(),
            store,
            hosts: (0..HOSTS_COUNT).map(host).collect(),
            now_s: 0,
            made: 0,
            random: Random(seed),
            is_mixed: false,
        }
    }

    fn transition(&mut self) {
        let host = self.random.below(HOSTS_COUNT);
        match self.random.below(64) {
            0..8 => self.create(host),
            8..12 => self.remove(host),
            12..18 => self.attach(host),
            18..22 => self.detach(host),
            22 => self.lose(host),
            23..26 => self.hosts[host].reaches = true,
            26 => self.now_s += 700,
            27 => self.snapshot = self.store.clone(),
            28 => self.set_back(),
            29 => self.hosts[host].unheard = None,
            _ => self.hear(host),
        }
    }

    /// By what the host knows, which may be old; a name, a VNI and a subnet that others want too.
    fn create(&mut self, host: usize) {
        // A host that has to list everything first is out of step, and makes nothing.
        let is_in_step = self.hosts[host].reaches && self.hosts[host].unheard.is_some();
        if !is_in_step || self.made == u8::MAX {
            return;
        }
        self.made += 1;
        let (name, second) = (self.random.below(12), self.random.below(6));
        let prefix = 22 + self.random.below(3);
        let mut record = network(self.made, name, &format!("10.{second}.0.0/{prefix}"));
        let wished = match self.random.below(2) {
            0 => None,
            _ => Some(u32::try_from(4096 + self.random.below(4)).unwrap()),
        };
        record.overlay.as_mut().unwrap().vni = wished.unwrap_or_default();
        let created = networks::create(&self.hosts[host].world, record, wished, self.rest());
        if let Ok((record, writes)) = created
            && self.transact(writes)
        {
            self.adopt(host, &record);
        }
    }

    fn remove(&mut self, host: usize) {
        let this = &self.hosts[host];
        let unused = this.networks.values().find(|record| {
            let users = format!("{ENDPOINTS}{}/", record.id);
            let is_used = this.world.entries_under(&users).next().is_some();
            !this.attached.contains(&record.id) && !is_used
        });
        if let (true, Some(record)) = (this.reaches, unused.cloned()) {
            let writes = networks::remove(&this.world, &record, self.now_s).unwrap();
            if !writes.is_empty() && self.transact(writes) {
                self.hosts[host].networks.remove(&record.id);
            }
        }
    }

    fn attach(&mut self, host: usize) {
        let count = self.hosts[host].networks.len();
        if count == 0 {
            return;
        }
        let at = self.random.below(count);
        let id = self.hosts[host].networks.keys().nth(at).unwrap().clone();
        self.hosts[host].attached.insert(id);
        self.tell_endpoints(host);
    }

    fn detach(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        this.cut_off.clear();
        if let Some(id) = this.attached.pop_first()
            && this.reaches
        {
            let key = format!("{ENDPOINTS}{id}/{}", this.name);
            self.write(vec![(key, None)]);
        }
    }

    /// Its lease ends.
    fn lose(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        (this.reaches, this.unheard) = (false, None);
        let end = format!("/{}", this.name);
        let keys = self.store.entries.keys();
        let own = keys.filter(|key| key.starts_with(ENDPOINTS) && key.ends_with(&end));
        let gone: Vec<_> = own.map(|key| (key.clone(), None)).collect();
        self.write(gone);
    }

    fn set_back(&mut self) {
        self.store = self.snapshot.clone();
        self.is_mixed = true;
        for host in &mut self.hosts {
            host.unheard = None;
        }
    }

    /// One event, or a list.
    fn hear(&mut self, host: usize) {
        if !self.hosts[host].reaches {
            return;
        }
        let now = Instant::now();
        let this = &mut self.hosts[host];
        let differences = match &mut this.unheard {
            None => {
                this.unheard = Some(Vec::new());
                let listed = self.store.entries.values().cloned().collect();
                this.world.replace(listed, &Moment::alone(now))
            }
            Some(unheard) if unheard.is_empty() => return,
            Some(unheard) => {
                let event = unheard.remove(0);
                this.world
                    .apply(event, &Moment::alone(now))
                    .into_iter()
                    .collect()
            }
        };
        let is_list = differences.len() > 1;
        for difference in &differences {
            if let Difference::Put(entry) = difference
                && entry.key.starts_with(NETWORKS)
            {
                self.adopt(host, &entry.decode().unwrap());
            }
        }
        self.mind_gone(host);
        self.look_again(host);
        if is_list {
            self.tell_endpoints(host);
        }
        self.acknowledge(host);
    }

    fn adopt(&mut self, host: usize, record: &NetworkRecord) {
        let this = &mut self.hosts[host];
        if let Some(here) = this.networks.get_mut(&record.id) {
            here.overlay.clone_from(&record.overlay);
        } else if !this.cut_off.contains(&record.id)
            && check_adoption(record, this.networks.values(), &[]).is_ok()
        {
            this.networks.insert(record.id.clone(), record.clone());
        }
    }

    fn look_again(&mut self, host: usize) {
        let known: Vec<NetworkRecord> = {
            let world = &self.hosts[host].world;
            world.under(NETWORKS).map(|(_, record)| record).collect()
        };
        for record in known {
            self.adopt(host, &record);
        }
    }

    fn mind_gone(&mut self, host: usize) {
        let this = &self.hosts[host];
        let is_gone = |id: &String| !this.world.contains(&format!("{NETWORKS}{id}"));
        let gone: Vec<_> = this
            .networks
            .keys()
            .filter(|id| is_gone(id))
            .cloned()
            .collect();
        for id in gone {
            let this = &self.hosts[host];
            let record = this.networks[&id].clone();
            if !networks::was_removed(&this.world, &record) {
                let world = World::of(self.store.entries.values().cloned().collect());
                // Another host may have been faster; the watch will say so.
                if world.contains(&format!("{NETWORKS}{id}")) {
                    continue;
                }
                if !networks::was_removed(&world, &record)
                    && let Ok((back, writes)) = networks::put_back(&world, &record, self.rest())
                {
                    assert!(self.transact(writes));
                    self.adopt(host, &back);
                    continue;
                }
            }
            let this = &mut self.hosts[host];
            this.networks.remove(&id);
            if this.attached.remove(&id) {
                this.cut_off.insert(id);
            }
        }
    }

    fn acknowledge(&mut self, host: usize) {
        let this = &self.hosts[host];
        let is_here = networks::removed(&this.world).any(|id| this.networks.contains_key(&id));
        if let (false, Some((followed, key))) =
            (is_here, networks::to_acknowledge(&this.world, &this.name))
        {
            self.write(vec![(key, Some(serde_json::to_value(followed).unwrap()))]);
        }
    }

    /// Whatever this host is on, unless the others know.
    fn tell_endpoints(&mut self, host: usize) {
        let this = &self.hosts[host];
        let keys = this.attached.iter();
        let keys = keys.map(|id| format!("{ENDPOINTS}{id}/{}", this.name));
        let untold: Vec<_> = keys
            .filter(|key| this.reaches && !self.store.entries.contains_key(key))
            .map(|key| (key, Some(json!(null))))
            .collect();
        self.write(untold);
    }

    fn rest(&self) -> Rest {
        Rest {
            now_s: self.now_s,
            length: Duration::from_secs(600),
        }
    }

    fn transact(&mut self, writes: Vec<Write>) -> bool {
        let is_so = writes.iter().all(|write| {
            let present = self.store.entries.get(&write.key);
            let is_so = |before: &Before| before.is_so(present);
            write.before.as_ref().is_none_or(is_so)
        });
        if is_so {
            let writes = writes.into_iter();
            self.write(writes.map(|write| (write.key, write.value)).collect());
        }
        is_so
    }

    fn write(&mut self, writes: Vec<(String, Option<serde_json::Value>)>) {
        self.store.revision += 1;
        let revision = self.store.revision;
        for (key, value) in writes {
            let event = match value {
                Some(value) => {
                    let entry = Entry {
                        key: key.clone(),
                        value,
                        revision,
                    };
                    self.store.entries.insert(key, entry.clone());
                    Event::Put(entry)
                }
                None => {
                    self.store.entries.remove(&key);
                    Event::Deleted { key, revision }
                }
            };
            for host in &mut self.hosts {
                if let Some(unheard) = &mut host.unheard {
                    unheard.push(event.clone());
                }
            }
        }
    }

    /// Everything works again, and all is heard.
    fn settle(&mut self) {
        for host in &mut self.hosts {
            (host.reaches, host.unheard) = (true, None);
        }
        for _ in 0..400 {
            for host in 0..HOSTS_COUNT {
                self.hear(host);
                self.check_frames();
            }
        }
    }

    // What must hold.

    /// A frame says of its network no more than a VNI. So no two hosts may have two networks by one VNI, whatever either has heard.
    fn check_frames(&mut self) {
        let has_heard = |host: &Host| host.unheard.as_ref().is_some_and(Vec::is_empty);
        self.is_mixed &= !self.hosts.iter().all(has_heard);
        if self.is_mixed {
            return;
        }
        let mut owners = BTreeMap::new();
        for host in &self.hosts {
            for record in host.networks.values() {
                let (id, first) = owners
                    .entry(vni_of(record))
                    .or_insert((&record.id, &host.name));
                assert_eq!(
                    *id,
                    &record.id,
                    "VNI {} on {first} and on {}",
                    vni_of(record),
                    host.name
                );
            }
        }
    }

    fn check_settled(&self) {
        let world = World::of(self.store.entries.values().cloned().collect());
        let networks: BTreeMap<String, NetworkRecord> = world
            .under::<NetworkRecord>(NETWORKS)
            .map(|(id, record)| (id.to_owned(), record))
            .collect();
        for (id, record) in &networks {
            let key = format!("{VNIS}{}", vni_of(record));
            let (owner, _) = world.find::<VniRecord>(&key).unwrap();
            assert_eq!((&owner.network, owner.removed_s), (id, None), "{key}");
            let others = networks.values().filter(|other| other.id != *id);
            check_adoption(record, others, &[]).unwrap();
        }
        for host in &self.hosts {
            let here: BTreeMap<_, _> = host
                .networks
                .iter()
                .filter(|(id, _)| !host.cut_off.contains(*id))
                .collect();
            let all = networks.iter();
            let expected: BTreeMap<_, _> =
                all.filter(|(id, _)| !host.cut_off.contains(*id)).collect();
            assert_eq!(here, expected, "{} has others", host.name);
            assert!(host.attached.iter().all(|id| networks.contains_key(id)));
        }
    }
}

fn vni_of(record: &NetworkRecord) -> u32 {
    record.overlay.as_ref().unwrap().vni
}

fn network(id: u8, number: usize, subnet: &str) -> NetworkRecord {
    let request = agent_api::NetworkCreate {
        name: format!("n{number}"),
        driver: Driver::Overlay,
        subnets: vec![subnet.parse().unwrap()],
        ..agent_api::NetworkCreate::default()
    };
    let around = Surroundings {
        networks: Vec::new(),
        host: Vec::new(),
        pools_v4: Vec::new(),
        pools_v6: Vec::new(),
        mtu_max: None,
    };
    let overlay = OverlayRecord {
        vni: 0,
        encap: Encap::Quic,
        remotes: Vec::new(),
    };
    network::plan(id_of([id; 32]), request, Some(overlay), &around).unwrap()
}

const SEEDS: u64 = if cfg!(debug_assertions) { 100 } else { 2000 };
const STEPS: usize = 600;
const HOSTS_COUNT: usize = 4;
