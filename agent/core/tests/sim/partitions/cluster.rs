//! The cluster, what happens to it, and the model that it is held to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_core::name::id_of;
use agent_core::record::NetworkRecord;

use super::super::store::Store;
use super::host::{Host, member};
use super::managers::Net;
use super::networks::Wished;
use super::wires::HOSTS;

pub(crate) struct Cluster {
    pub(crate) net: Net,
    pub(crate) hosts: Vec<Host>,
    snapshot: Store,
    /// Whether the store is set back in this world.
    may_set_back: bool,
    /// Not everybody has heard yet that the store was set back.
    pub(crate) is_mixed: bool,
    numbers: u32,
    /// Since when each host reaches a manager that has a quorum, and is out of step.
    pub(crate) late_since: [u64; HOSTS],
    // The model.
    /// Networks whose creation was acknowledged, and that nobody has tried to remove since.
    pub(crate) made: BTreeMap<String, NetworkRecord>,
    /// Endpoints that were promised and not taken back, with their hosts.
    pub(crate) promised: BTreeMap<String, usize>,
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Self {
        let mut net = Net::new(seed);
        (0..HOSTS).for_each(|host| {
            net.store.transact(vec![member(host)]).unwrap();
        });
        net.found(0);
        let may_set_back = net.random.chance(30);
        let host = |host| Host::new(host, 0, host as u64 % 3);
        let mut cluster = Self {
            snapshot: net.store.clone(),
            net,
            hosts: (0..HOSTS).map(host).collect(),
            may_set_back,
            is_mixed: false,
            numbers: 0,
            late_since: [0; HOSTS],
            made: BTreeMap::new(),
            promised: BTreeMap::new(),
        };
        for host in 0..HOSTS {
            cluster.start(host);
        }
        cluster.run(2000);
        if cluster.net.random.chance(60) {
            cluster.net.promote(1);
            cluster.net.promote(2);
        }
        cluster
    }

    // What can be done to it.

    pub(crate) fn transition(&mut self) {
        self.net.is_rough = true;
        let (host, other) = self.two_hosts();
        match self.net.random.below(100) {
            0..6 => self.create(host),
            6..10 => self.remove(host),
            10..22 => self.attach(host),
            22..28 => self.detach(host),
            28..33 => self.net.wires.cut(host, other),
            33..36 => {
                self.net.wires.cut(host, other);
                self.net.wires.cut(other, host);
            }
            36 | 37 => {
                let parts = self.net.random.word();
                self.net.wires.split(|host| parts >> host & 1 == 1);
            }
            38..46 => self.net.wires.mend(host, other),
            46..48 => self.mend_wires(),
            48..50 => self.kill(host),
            50..54 => self.start(host),
            54 => self.switch_off(host),
            55..58 => self.switch_on(host),
            58..60 => self.net.promote(host),
            60 => self.net.demote(host),
            61 => self.snapshot = self.net.store.clone(),
            62 if self.may_set_back => self.set_back(),
            63 => self.net.store.compact(),
            _ => {
                let pause = 1 + self.net.random.below(8);
                self.run(u64::try_from(pause).unwrap() * TICK_MS);
            }
        }
        self.check_always();
    }

    pub(crate) fn heal(&mut self) {
        self.net.is_rough = false;
        self.mend_wires();
        for host in 0..HOSTS {
            self.switch_on(host);
            self.start(host);
        }
    }

    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.net.now_ms + millis;
        while self.net.now_ms < end {
            self.net.now_ms += TICK_MS;
            self.tick();
            self.check_frames();
        }
    }

    /// Somebody may have written at the last moment.
    pub(crate) fn hear_out(&mut self) {
        for _ in 0..HEARING_TICKS_MAX {
            if self.hosts.iter().all(|host| host.has_heard_all(&self.net)) {
                return;
            }
            self.run(TICK_MS);
        }
    }

    pub(crate) fn remove_everything(&mut self) {
        for host in 0..HOSTS {
            for id in self.endpoints(host) {
                self.hosts[host].detach(&mut self.net, &id);
                self.promised.remove(&id);
            }
        }
        for host in 0..HOSTS {
            for id in self.hosts[host].shared_networks() {
                self.made.remove(&id);
                self.hosts[host].remove(&mut self.net, &id);
            }
        }
    }

    // How it works.

    fn tick(&mut self) {
        let has_agent = std::array::from_fn(|host| self.hosts[host].agent.is_some());
        self.net.wires.tick(self.net.now_ms, has_agent);
        self.net.tick();
        for host in &mut self.hosts {
            host.tick(&mut self.net);
        }
        self.note_promises();
        self.note_who_heard();
        self.note_who_is_late();
    }

    fn note_who_is_late(&mut self) {
        for host in 0..HOSTS {
            let net = &self.net;
            let mut managers = net.managers.iter();
            let reaches = managers.any(|(manager, there)| {
                let is_asked =
                    *manager == host || there.answers && net.wires.carry_both(host, *manager);
                is_asked && net.has_quorum(*manager)
            });
            if !reaches || self.hosts[host].agent.is_none() || self.hosts[host].session().is_some()
            {
                self.late_since[host] = net.now_ms;
            }
        }
    }

    /// What came to be attached since is promised; what was cut off is not any more.
    fn note_promises(&mut self) {
        for host in &self.hosts {
            for id in host.disk.endpoints.keys() {
                self.promised.insert(id.clone(), host.number);
            }
            for id in host.agent.iter().flat_map(|agent| &agent.cut_off) {
                self.promised.remove(id);
            }
        }
    }

    fn note_who_heard(&mut self) {
        let mut alive = self.hosts.iter().filter(|host| host.agent.is_some());
        self.is_mixed &= !alive.all(|host| host.has_heard_all(&self.net));
    }

    fn create(&mut self, host: usize) {
        if self.hosts[host].agent.is_none() || self.made.len() >= NETWORKS_MAX {
            return;
        }
        let random = &mut self.net.random;
        let (name, second, prefix) = (random.below(8), random.below(6), 24 + random.below(4));
        let vni = random.chance(50).then(|| 4096 + random.below(4));
        let wished = Wished {
            id: self.id(1),
            name: format!("n{name}"),
            subnet: format!("10.{second}.0.0/{prefix}"),
            vni: vni.map(|vni| u32::try_from(vni).unwrap()),
        };
        if let Some(record) = self.hosts[host].create(&mut self.net, &wished) {
            self.made.insert(record.id.clone(), record);
        }
    }

    fn remove(&mut self, host: usize) {
        if let Some(id) = self.some_network(host) {
            // Whatever comes of it.
            self.made.remove(&id);
            self.hosts[host].remove(&mut self.net, &id);
        }
    }

    fn attach(&mut self, host: usize) {
        let Some(network) = self.some_network(host) else {
            return;
        };
        if self.hosts[host].disk.endpoints.len() >= ENDPOINTS_MAX {
            return;
        }
        let subnet = self.hosts[host].disk.networks[&network].subnets[0].net;
        let chosen = self.net.random.chance(25).then(|| {
            let place = 2 + self.net.random.below(12);
            subnet.hosts().nth(place).filter(IpAddr::is_ipv4)
        });
        let random = &mut self.net.random;
        let mac = random
            .chance(10)
            .then(|| format!("02:00:00:00:00:0{}", random.below(4)));
        let id = self.id(2);
        let wishes = (chosen.flatten(), mac);
        self.hosts[host].attach(&mut self.net, &network, id, wishes);
        self.note_promises();
    }

    fn detach(&mut self, host: usize) {
        let endpoints = self.endpoints(host);
        if !endpoints.is_empty() {
            let id = &endpoints[self.net.random.below(endpoints.len())];
            self.promised.remove(id);
            self.hosts[host].detach(&mut self.net, id);
        }
    }

    fn kill(&mut self, host: usize) {
        let remembers = self.net.random.chance(70);
        self.hosts[host].kill(remembers);
        self.net.answer(host, false);
    }

    fn start(&mut self, host: usize) {
        if self.hosts[host].agent.is_some() || !self.net.wires.is_on(host) {
            return;
        }
        self.is_mixed |= self.hosts[host].is_of_the_past(&self.net);
        self.hosts[host].start(&self.net);
        self.net.answer(host, true);
    }

    /// Its containers end with it.
    fn switch_off(&mut self, host: usize) {
        self.kill(host);
        self.net.wires.switch(host, false);
        self.hosts[host].disk.endpoints.clear();
        self.promised.retain(|_, at| *at != host);
    }

    fn switch_on(&mut self, host: usize) {
        self.net.wires.switch(host, true);
    }

    fn mend_wires(&mut self) {
        self.net.wires.mend_all();
    }

    fn set_back(&mut self) {
        self.net.set_back(&self.snapshot);
        self.is_mixed = true;
    }

    fn two_hosts(&mut self) -> (usize, usize) {
        let one = self.net.random.below(HOSTS);
        (one, (one + 1 + self.net.random.below(HOSTS - 1)) % HOSTS)
    }

    fn some_network(&mut self, host: usize) -> Option<String> {
        self.hosts[host].agent.as_ref()?;
        let all = self.hosts[host].shared_networks();
        let some = self.net.random.below(all.len().max(1));
        all.get(some).cloned()
    }

    /// Of a host whose agent runs.
    fn endpoints(&self, host: usize) -> Vec<String> {
        let host = &self.hosts[host];
        let all = host.disk.endpoints.keys().cloned();
        all.filter(|_| host.agent.is_some()).collect()
    }

    fn id(&mut self, kind: u8) -> String {
        self.numbers += 1;
        let mut bytes = [kind; 32];
        bytes[..4].copy_from_slice(&self.numbers.to_be_bytes());
        id_of(bytes)
    }

    /// How much all agents hold, as the length of all of it written down.
    pub(crate) fn held(&self) -> usize {
        let agents = self.hosts.iter().filter_map(|host| host.agent.as_ref());
        agents.map(|agent| format!("{agent:?}").len()).sum()
    }
}

const TICK_MS: u64 = 250;
const HEARING_TICKS_MAX: u32 = 20;
const NETWORKS_MAX: usize = 5;
const ENDPOINTS_MAX: usize = 6;
