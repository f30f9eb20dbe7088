//! The cluster: agents, their disks, the store, and the model they are held to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use agent_api::NetworkCreate;
use agent_core::ipam::block::overlap;
use agent_core::ipam::default_pools_v4;
use agent_core::network::{self, Surroundings};
use agent_core::shared::{
    ALIVE, BLOCKS, ENDPOINTS, EndpointShared, HOSTS, HostRecord, Moment, PageRecord,
};
use switch_lab::simulation::Random;

use super::agent::{Agent, Disk, Done, LEASE_MS, container_of};
use super::store::{Change, Store};

pub(crate) struct Cluster {
    now_ms: u64,
    start: Instant,
    store: Store,
    disks: Vec<Disk>,
    /// `None`: it died.
    agents: Vec<Option<Agent>>,
    /// Whether a host reaches the store.
    reaches: Vec<bool>,
    /// Whether replies of the store are lost now and then.
    is_rough: bool,
    random: Random,
    containers: u64,
    /// The model: endpoints that were promised and not taken back, with their hosts.
    promised: BTreeMap<String, usize>,
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Self {
        let networks: Vec<_> = (0..2).map(record).collect();
        let disk = |host: usize| Disk {
            host: format!("h{host}"),
            networks: networks.clone(),
            endpoints: BTreeMap::new(),
            owned: BTreeMap::new(),
            running: BTreeMap::new(),
            remembered: Vec::new(),
            ids: 0,
        };
        let mut cluster = Self {
            now_ms: 0,
            start: Instant::now(),
            store: Store::default(),
            disks: (0..HOSTS_COUNT).map(disk).collect(),
            agents: (0..HOSTS_COUNT).map(|_| None).collect(),
            reaches: vec![true; HOSTS_COUNT],
            is_rough: true,
            random: Random(seed),
            containers: 0,
            promised: BTreeMap::new(),
        };
        for host in 0..HOSTS_COUNT {
            let known = HostRecord {
                name: format!("h{host}"),
                address: [10, 0, 0, 1].into(),
                joined_s: 0,
            };
            let member = Change {
                key: format!("{HOSTS}h{host}"),
                before: None,
                value: Some(serde_json::to_value(known).unwrap()),
                lease: None,
            };
            cluster.store.transact(vec![member]).unwrap();
            cluster.restart(host);
        }
        cluster
    }

    // What can be done to it.

    /// Something random happens, or some time passes.
    pub(crate) fn transition(&mut self) {
        self.is_rough = true;
        let host = self.random.below(HOSTS_COUNT);
        match self.random.below(40) {
            0..4 => self.run_container(host),
            4..6 => self.end_container(host),
            6 => self.crash(host),
            7 => self.restart(host),
            8 => self.reaches[host] = false,
            9 | 10 => self.reaches[host] = true,
            11 => self.store.compact(),
            12..14 => {
                let pause = self.random.below(4000);
                self.run(u64::try_from(pause).unwrap());
            }
            14..20 => {
                self.hear(host);
            }
            _ => self.step(host),
        }
        self.check_always();
    }

    pub(crate) fn heal(&mut self) {
        self.is_rough = false;
        for host in 0..HOSTS_COUNT {
            self.reaches[host] = true;
            self.restart(host);
        }
    }

    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.now_ms + millis;
        while self.now_ms < end {
            self.now_ms = (self.now_ms + TICK_MS).min(end);
            self.tick();
        }
    }

    pub(crate) fn remove_everything(&mut self) {
        for host in 0..HOSTS_COUNT {
            while !self.disks[host].running.is_empty() {
                self.end_container(host);
            }
        }
    }

    /// How much all agents hold, as the length of all of it written down.
    pub(crate) fn held(&self) -> usize {
        let agents = self.agents.iter().flatten();
        let of =
            |agent: &Agent| format!("{:?}{:?}{:?}", agent.world, agent.pools, agent.seats).len();
        agents.map(of).sum()
    }

    // How it works.

    fn run_container(&mut self, host: usize) {
        if self.agents[host].is_none() || self.disks[host].running.len() >= CONTAINERS_MAX {
            return;
        }
        self.containers += 1;
        let container = format!("c{}", self.containers);
        let pid = i32::try_from(self.containers).unwrap();
        self.disks[host].running.insert(container.clone(), pid);
        let network = self.random.below(2);
        if let Some(agent) = &mut self.agents[host] {
            agent.attach(network, container);
        }
    }

    /// Its command ends, whether or not an agent looks on.
    fn end_container(&mut self, host: usize) {
        let running = &self.disks[host].running;
        if running.is_empty() {
            return;
        }
        let place = self.random.below(running.len());
        let container = running.keys().nth(place).unwrap().clone();
        self.disks[host].running.remove(&container);
        let Some(agent) = &mut self.agents[host] else {
            return;
        };
        let of_it = agent
            .seats
            .values()
            .filter(|record| container_of(record) == container);
        let ids: Vec<String> = of_it.map(|record| record.id.clone()).collect();
        for id in ids {
            agent.detach(&id);
            self.promised.remove(&id);
        }
    }

    /// Between any two steps. What it knew of the cluster it may have written down lately.
    fn crash(&mut self, host: usize) {
        let Some(agent) = self.agents[host].take() else {
            return;
        };
        if self.random.chance(50) {
            self.disks[host].remembered = agent.world.entries().cloned().collect();
        }
    }

    fn restart(&mut self, host: usize) {
        if self.agents[host].is_some() {
            return;
        }
        let now = self.now();
        self.agents[host] = Some(Agent::start(&mut self.disks[host], now));
        // Of what was promised, that is gone whose container ended meanwhile.
        let disk = &self.disks[host];
        self.promised.retain(|id, at| {
            let is_running = disk
                .endpoints
                .get(id)
                .is_some_and(|record| disk.running.contains_key(container_of(record)));
            *at != host || is_running
        });
        // A container without its endpoint is one whose start was cut short: its shim is ended.
        let plugged: BTreeSet<String> = disk
            .endpoints
            .values()
            .map(|record| container_of(record).to_owned())
            .collect();
        self.disks[host]
            .running
            .retain(|container, _| plugged.contains(container));
    }

    fn tick(&mut self) {
        self.store.expire(self.now_ms);
        let is_up = self.tunnels();
        let reaches = |host: &str| is_up.contains(host);
        let at = Moment {
            now: self.now(),
            reaches: &reaches,
        };
        let tends = self.now_ms.is_multiple_of(TEND_MS);
        for host in 0..HOSTS_COUNT {
            let (Some(agent), disk) = (&mut self.agents[host], &mut self.disks[host]) else {
                continue;
            };
            let ends = self.now_ms + LEASE_MS;
            let is_kept = match (self.reaches[host], agent.session) {
                (true, Some(session)) => self.store.keep_alive(session.lease, ends),
                _ => false,
            };
            if !self.reaches[host] {
                agent.session = None;
            } else if !is_kept {
                agent.join(disk, &mut self.store, self.now_ms, &at);
            }
            agent.handle_timeout(disk, &self.store, &at);
            if tends {
                agent.tend(disk);
            }
            for _ in 0..STEPS_A_TICK {
                self.step(host);
                self.hear(host);
            }
        }
    }

    fn step(&mut self, host: usize) {
        let now = self.now();
        let (Some(agent), disk) = (&mut self.agents[host], &mut self.disks[host]) else {
            return;
        };
        self.store.loses_reply = self.is_rough && self.random.chance(3);
        let store = self.reaches[host].then_some(&mut self.store);
        let done = agent.step(disk, store, now);
        self.store.loses_reply = false;
        match done {
            Done::Nothing => {}
            Done::Attached(id) => {
                self.promised.insert(id, host);
            }
            Done::Detached(id) => {
                self.promised.remove(&id);
            }
        }
    }

    fn hear(&mut self, host: usize) -> bool {
        let is_up = self.tunnels();
        let reaches = |host: &str| is_up.contains(host);
        let at = Moment {
            now: self.now(),
            reaches: &reaches,
        };
        match &mut self.agents[host] {
            Some(agent) if self.reaches[host] => {
                agent.hear(&mut self.disks[host], &self.store, &at)
            }
            _ => false,
        }
    }

    /// Hosts with tunnels: nothing but an agent's death takes them down.
    fn tunnels(&self) -> BTreeSet<String> {
        let agents = self.disks.iter().zip(&self.agents);
        let up = agents.filter(|(_, agent)| agent.is_some());
        up.map(|(disk, _)| disk.host.clone()).collect()
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    // What must hold at any moment.

    /// Nobody gives out what is another's, and no two containers have one address: on hosts that are cut off, too, and where the
    /// agent is dead.
    fn check_always(&self) {
        for network in &self.disks[0].networks {
            let owned = self.disks.iter().zip(&self.agents).map(|(disk, agent)| {
                let on_record = disk.owned.get(&network.id).cloned();
                let mut owned = on_record.unwrap_or_default();
                if let Some(agent) = agent {
                    owned.extend(agent.pools[&network.id].owned());
                }
                owned
            });
            let owned: Vec<_> = owned.collect();
            for (host, own) in owned.iter().enumerate() {
                for others in &owned[host + 1..] {
                    let both = own
                        .iter()
                        .find(|own| others.iter().any(|other| overlap(**own, *other)));
                    assert_eq!(both, None, "two hosts own it");
                }
            }
            let mut held = BTreeSet::new();
            for disk in &self.disks {
                let here = disk.endpoints.values();
                let here = here.filter(|record| record.network == network.id);
                for address in here.flat_map(|record| record.addresses()) {
                    assert!(held.insert(address), "{address} is held twice");
                }
            }
        }
    }

    // What must hold when everything works again.

    pub(crate) fn check(&self) {
        self.check_always();
        self.check_store();
        for host in 0..HOSTS_COUNT {
            self.check_host(host);
        }
    }

    /// Every key is of a host that lives and of an endpoint that it has, and every endpoint has its keys.
    fn check_store(&self) {
        let mut expected = BTreeSet::new();
        for (disk, agent) in self.disks.iter().zip(self.agents.iter().flatten()) {
            assert!(!agent.is_busy(), "{} has not come to rest", disk.host);
            assert!(agent.cut_off.is_empty(), "{} has lost addresses", disk.host);
            expected.insert(format!("{ALIVE}{}", disk.host));
            expected.insert(format!("{HOSTS}{}", disk.host));
            for record in agent.seats.values() {
                expected.insert(format!("{ENDPOINTS}{}/{}", record.network, record.id));
            }
            for network in &disk.networks {
                let prefix = format!("{BLOCKS}{}/", network.id);
                let pages = self.store.list().into_iter();
                let pages = pages.filter(|page| page.key.starts_with(&prefix));
                let mut owned: Vec<_> = pages
                    .flat_map(|page| page.decode::<PageRecord>().unwrap().owners)
                    .filter(|(_, owner)| *owner == disk.host)
                    .map(|(block, _)| block)
                    .collect();
                owned.sort();
                let knows = agent.pools[&network.id].owned();
                assert_eq!(knows, owned, "{} does not know what it owns", disk.host);
            }
        }
        for entry in self.store.list() {
            let is_page = entry.key.starts_with(BLOCKS);
            assert!(
                expected.remove(&entry.key) || is_page,
                "{entry:?} is of nobody"
            );
        }
        assert!(expected.is_empty(), "the store lacks {expected:?}");
    }

    /// A host has what it promised, knows what the store has, and gives nothing away that is somebody's.
    fn check_host(&self, host: usize) {
        let (disk, agent) = (&self.disks[host], self.agents[host].as_ref().unwrap());
        let here = |ids: &mut dyn Iterator<Item = &String>| ids.cloned().collect::<BTreeSet<_>>();
        let seats = here(&mut agent.seats.keys());
        assert_eq!(
            seats,
            here(&mut disk.endpoints.keys()),
            "records are of what there is"
        );
        let promised = self.promised.iter().filter(|(_, at)| **at == host);
        assert_eq!(
            seats,
            here(&mut promised.map(|(id, _)| id)),
            "what was promised is there"
        );
        let known: Vec<_> = agent.world.entries().cloned().collect();
        let listed = self.store.list();
        let differs = known.iter().find(|entry| !listed.contains(entry));
        assert_eq!(differs, None, "{} is out of step", disk.host);
        assert_eq!(known.len(), listed.len(), "{} is out of step", disk.host);
        for network in &disk.networks {
            let prefix = format!("{ENDPOINTS}{}/", network.id);
            let mut taken: BTreeSet<_> = agent
                .world
                .under::<EndpointShared>(&prefix)
                .flat_map(|(_, shared)| shared.addresses())
                .collect();
            let own = agent
                .seats
                .values()
                .filter(|record| record.network == network.id);
            taken.extend(own.flat_map(|record| record.addresses()));
            let pool = agent.pools[&network.id].v4.as_ref().unwrap();
            let missing = taken
                .iter()
                .find(|address| pool.tenant(**address).is_none());
            assert_eq!(missing, None, "{} would give it away", disk.host);
            // The gateway has one too.
            assert_eq!(
                pool.taken(),
                taken.len() + 1,
                "{} keeps what nobody has",
                disk.host
            );
        }
        for (_, shared) in agent.world.under::<EndpointShared>(ENDPOINTS) {
            assert!(self.disks.iter().any(|disk| disk.host == shared.host));
        }
    }
}

fn record(number: usize) -> agent_core::record::NetworkRecord {
    let create = NetworkCreate {
        name: format!("n{number}"),
        subnets: vec![
            format!("10.{number}.0.0/{}", PREFIXES[number])
                .parse()
                .unwrap(),
        ],
        ..NetworkCreate::default()
    };
    let around = Surroundings {
        networks: Vec::new(),
        host: Vec::new(),
        pools_v4: default_pools_v4(),
        pools_v6: Vec::new(),
        mtu_max: None,
    };
    network::plan(format!("n{number}"), create, None, &around).unwrap()
}

const HOSTS_COUNT: usize = 3;
const CONTAINERS_MAX: usize = 6;
const TICK_MS: u64 = 500;
const TEND_MS: u64 = 2500;
/// One network is too small for all containers, the other one has blocks of some size.
const PREFIXES: [u8; 2] = [28, 25];
/// So many steps an agent takes, and so many things it hears, while nothing keeps it.
const STEPS_A_TICK: usize = 8;
