//! What networks have counted and learned, kept beyond the agent's end.
//!
//! # Theory of operation
//!
//! The guardian holds two snapshots ([`crate::snapshot`]): of counters, and of the MACs that were learned. The agent writes both
//! once a second and at planned ends. What it has told anybody of its counters it has written before, so that they never run
//! backwards, whenever it is killed: only what was counted since, and shown to nobody, is lost.
//!
//! At a start, MACs are entered before the first port is read, older by the time that has passed. Counters follow when no other agent
//! counts any more. A port is known by what it stands for: an endpoint, a way to another host. What was counted at one that is not there
//! yet, as at a tunnel that comes with its host's news, waits for it, and is the network's meanwhile.
//!
//! Between the moment that a port goes and the one that its network takes over what it counted, the network's sum is short by that.
//! Nobody is told less than before meanwhile, nor is less kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use switch_core::{FdbKind, PortCounts, PortId, PortImage, Snapshot, Station, TableImage};
use switch_io::give_back_freed;

use super::segment::Segment;
use super::{Network, Networks};
use crate::locks::lock;
use crate::panics::essential;
use crate::snapshot::{ReadSnapshot, SnapshotFile, since_boot};

/// What is kept, and what waits.
#[derive(Default)]
pub(super) struct Memory {
    counters: Option<SnapshotFile>,
    stations: Option<SnapshotFile>,
    /// Nothing is written before it was read.
    is_recalled: bool,
    had_learned: bool,
    /// What was counted at ports that are not there, by their names.
    waiting: BTreeMap<String, PortCounts>,
    /// What each network has counted in all, as it was told and kept last, by its id.
    totals: BTreeMap<String, PortCounts>,
}

/// A network as it is kept.
struct Keeping {
    id: String,
    segment: Arc<Segment>,
    gone: PortCounts,
    /// By their names.
    ports: Vec<(String, PortId)>,
}

impl Networks {
    /// Enters what was learned before; to be called as long as nobody reads the ports.
    pub(crate) fn recall_stations(&self) {
        let mut memory = lock(&self.memory);
        let Some(found) = self.read(&mut memory.stations, STATIONS) else {
            return;
        };
        drop(memory);
        let passed = since_boot().saturating_sub(found.taken);
        let mut learned: BTreeMap<_, _> = found
            .ports
            .into_iter()
            .map(|port| (port.name, port.learned))
            .collect();
        let now = self.ground.switch.now();
        for network in self.keeping() {
            for (name, port) in &network.ports {
                let mut learned = learned.remove(name).unwrap_or_default();
                for (_, age) in &mut learned {
                    *age += passed;
                }
                network.segment.bridge.recall(now, *port, &learned);
            }
        }
    }

    /// Goes on counting from what was counted before, and keeps it from now on.
    pub(crate) fn recall_counters(self: &Arc<Self>) {
        let mut memory = lock(&self.memory);
        let networks = self.keeping();
        let found = self.read(&mut memory.counters, COUNTERS);
        memory.is_recalled = true;
        let found = found.unwrap_or_default();
        let mut waiting: BTreeMap<_, _> = found
            .ports
            .into_iter()
            .map(|port| (port.name, port.counts))
            .collect();
        for network in &networks {
            if let Some(gone) = waiting.remove(&gone(&network.id)) {
                self.add_gone(&network.id, &gone);
            }
            let mut tables = found.tables.iter();
            if let Some(table) = tables.find(|table| table.name == network.id) {
                network.segment.bridge.fdb().resume(table.counts);
            }
        }
        memory.waiting = waiting;
        self.claim(&mut memory, &networks);
        drop(memory);
        let networks = Arc::downgrade(self);
        let keeping = std::thread::Builder::new()
            .name("snapshot".into())
            .spawn(|| essential(move || keep_on(&networks)));
        if let Err(error) = keeping {
            self.ground.warn(format!(
                "what is counted and learned will not outlast the agent: {error}"
            ));
        }
    }

    /// Writes all.
    pub(crate) fn keep_all(&self) {
        self.keep_counters();
        self.keep_stations();
    }

    /// Writes what was counted so far, as before it is told.
    pub(crate) fn keep_counters(&self) {
        let mut memory = lock(&self.memory);
        if !memory.is_recalled {
            return;
        }
        let networks = self.keeping();
        self.claim(&mut memory, &networks);
        let names = networks.iter().flat_map(|network| &network.ports);
        let ids: Vec<_> = names.map(|(_, port)| *port).collect();
        let mut counted = self.ground.switch.counted_of(&ids);
        let image = |name, counts| PortImage {
            name,
            counts,
            learned: Vec::new(),
        };
        let mut snapshot = Snapshot::default();
        let mut totals = BTreeMap::new();
        for mut network in networks {
            let mut sum = network.gone.clone();
            sum += &memory.waiting(&network.id);
            for (name, port) in network.ports {
                if let Some(counts) = counted.remove(&port) {
                    sum += &counts;
                    snapshot.ports.push(image(name, counts));
                }
            }
            if let Some(told) = memory.totals.get(&network.id) {
                let missing = told.beyond(&sum);
                sum += &missing;
                network.gone += &missing;
            }
            totals.insert(network.id.clone(), sum);
            snapshot.ports.push(image(gone(&network.id), network.gone));
            snapshot.tables.push(TableImage {
                counts: network.segment.bridge.fdb().counts(),
                name: network.id,
            });
        }
        memory.totals = totals;
        let waiting = memory.waiting.clone().into_iter();
        snapshot
            .ports
            .extend(waiting.map(|(name, counts)| image(name, counts)));
        if let Some(file) = &mut memory.counters {
            self.write(file, snapshot);
        }
    }

    /// What was counted at ports of the network that are not there yet.
    pub(super) fn waiting(&self, id: &str) -> PortCounts {
        lock(&self.memory).waiting(id)
    }

    /// What each network has counted in all, at ports that are gone too, by its id, as [`Networks::keep_counters`] kept it last.
    pub(super) fn totals(&self) -> BTreeMap<String, PortCounts> {
        lock(&self.memory).totals.clone()
    }

    fn keep_stations(&self) {
        let mut memory = lock(&self.memory);
        let networks = self.keeping();
        let mut learning = networks.iter().map(|network| network.segment.bridge.fdb());
        let has_learned = learning.any(switch_core::Fdb::has_learned);
        let is_news = has_learned || memory.had_learned;
        if !memory.is_recalled || !is_news {
            return;
        }
        memory.had_learned = has_learned;
        let ports = networks.iter().flat_map(|network| self.learned(network));
        let snapshot = Snapshot {
            ports: ports.collect(),
            ..Snapshot::default()
        };
        if let Some(file) = &mut memory.stations {
            self.write(file, snapshot);
        }
    }

    fn learned(&self, network: &Keeping) -> Vec<PortImage> {
        let fdb = network.segment.bridge.fdb();
        if !fdb.has_learned() {
            return Vec::new();
        }
        let mut learned: BTreeMap<PortId, Vec<_>> = BTreeMap::new();
        for entry in fdb.snapshot(self.ground.switch.now()) {
            if entry.kind == FdbKind::Learned {
                let at_port = learned.entry(entry.port).or_default();
                at_port.push((Station::new(entry.vlan, entry.mac), entry.age));
            }
        }
        let images = network.ports.iter().filter_map(|(name, port)| {
            Some(PortImage {
                name: name.clone(),
                learned: learned.remove(port)?,
                ..PortImage::default()
            })
        });
        images.collect()
    }

    /// Ports that have come take up what was counted before; what is no network's any more is forgotten.
    fn claim(&self, memory: &mut Memory, networks: &[Keeping]) {
        if memory.waiting.is_empty() {
            return;
        }
        for (name, port) in networks.iter().flat_map(|network| &network.ports) {
            if let Some(before) = memory.waiting.remove(name) {
                self.ground.switch.resume_counters(*port, before);
            }
        }
        let is_there = |name: &str| {
            let id = name.split('/').next();
            networks
                .iter()
                .any(|network| Some(network.id.as_str()) == id)
        };
        memory.waiting.retain(|name, _| is_there(name));
    }

    fn read(&self, file: &mut Option<SnapshotFile>, name: &str) -> Option<Snapshot> {
        if file.is_none() {
            *file = SnapshotFile::open(&self.ground.held, name)
                .map_err(|error| self.lost(name, &error.into()))
                .ok();
        }
        let found = file.as_mut()?.read();
        found.unwrap_or_else(|error| {
            self.lost(name, &error);
            None
        })
    }

    fn write(&self, file: &mut SnapshotFile, snapshot: Snapshot) {
        if let Err(error) = file.write(snapshot) {
            self.ground.warn(format!(
                "what is counted and learned will not outlast the agent: {error}"
            ));
        }
    }

    fn lost(&self, name: &str, error: &ReadSnapshot) {
        self.ground.warn(format!(
            "what was counted or learned before begins anew, since {name} cannot be read: {error}"
        ));
    }

    /// Networks and their endpoints.
    fn weight(&self) -> usize {
        let table = lock(&self.table);
        let seats = table.networks.values().map(|network| network.seats.len());
        table.networks.len() + seats.sum::<usize>()
    }

    fn keeping(&self) -> Vec<Keeping> {
        let table = lock(&self.table);
        table
            .networks
            .values()
            .filter_map(Network::keeping)
            .collect()
    }
}

impl Memory {
    fn waiting(&self, id: &str) -> PortCounts {
        let own = format!("{id}/");
        let mut sum = PortCounts::default();
        let all = self.waiting.iter();
        for (_, counts) in all.filter(|(name, _)| name.starts_with(&own)) {
            sum += counts;
        }
        sum
    }
}

impl Network {
    fn keeping(&self) -> Option<Keeping> {
        let segment = self.segment.clone()?;
        let id = &self.record.id;
        let mut ports = vec![(format!("{id}/gateway"), segment.edge_port)];
        let host = self.ways.host.iter();
        ports.extend(host.map(|host| (format!("{id}/host"), host.port)));
        let tunnels = self.ways.tunnels.iter();
        ports.extend(tunnels.map(|(to, tunnel)| (format!("{id}/tunnel/{to}"), tunnel.port.port)));
        let patches = self.ways.patches.iter();
        ports.extend(patches.map(|(to, patch)| (format!("{id}/patch/{to}"), patch.port)));
        let endpoints = self.seats.ports().into_iter();
        ports.extend(endpoints.map(|(endpoint, port)| (format!("{id}/endpoint/{endpoint}"), port)));
        Some(Keeping {
            id: id.clone(),
            segment,
            gone: self.gone.clone(),
            ports,
        })
    }
}

fn keep_on(networks: &Weak<Networks>) {
    let mut most = 0;
    loop {
        std::thread::sleep(INTERVAL);
        let Some(networks) = networks.upgrade() else {
            return;
        };
        networks.keep_all();
        let present = networks.weight();
        // What many freed lies among what others use.
        if present < most / 10 * 9 {
            give_back_freed();
            most = present;
        }
        most = most.max(present);
    }
}

fn gone(network: &str) -> String {
    format!("{network}/gone")
}

const INTERVAL: Duration = Duration::from_secs(1);
/// By which the guardian holds them.
const COUNTERS: &str = "snapshot/counters";
const STATIONS: &str = "snapshot/stations";
