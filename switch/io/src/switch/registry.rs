//! The ports of a switch, for its owner's questions.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use switch_core::{Bridge, PortCounts, PortId, lock};

use super::config::Placement;
use super::share::handed_over;
use crate::port::Port;

/// What is attached; the workers have copies of their own.
#[derive(Debug)]
pub(super) struct Registry(Mutex<Ports>);

#[derive(Debug)]
struct Ports {
    ports: HashMap<PortId, Record>,
    /// Those that are mirrored, and where to.
    mirrored: BTreeMap<PortId, PortId>,
    /// Ports that each worker reads.
    loads: Vec<usize>,
    placement: Placement,
    next: u32,
}

struct Record {
    port: Arc<Port>,
    reader: usize,
    /// Its reader reads it, or will when told.
    is_read: bool,
    /// No worker has it any more.
    is_shut: bool,
    /// What had been received when the port's work was last looked at.
    seen: PortCounts,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.port.id)
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// What reading the port has been since the last look: a frame counts as much as 64 KiB.
    fn work(&mut self) -> u64 {
        let counts = self.port.counts();
        let frames = counts.rx_frames - self.seen.rx_frames;
        let bytes = counts.rx_bytes - self.seen.rx_bytes;
        self.seen = counts;
        frames + bytes / 65536
    }
}

impl Ports {
    fn note_mirror(&mut self, port: &Port) {
        match port.outfit.mirror {
            Some(to) => self.mirrored.insert(port.id, to),
            None => self.mirrored.remove(&port.id),
        };
    }
}

impl Registry {
    pub(super) fn new(workers: usize, placement: Placement) -> Self {
        Self(Mutex::new(Ports {
            ports: HashMap::new(),
            mirrored: BTreeMap::new(),
            loads: vec![0; workers],
            placement,
            next: 1,
        }))
    }

    /// The port goes on counting from `before`.
    pub(super) fn resume(&self, id: PortId, before: PortCounts) {
        let mut ports = lock(&self.0);
        if let Some(record) = ports.ports.get_mut(&id) {
            record.port.resume(before);
            record.seen = record.port.counts();
        }
    }

    /// A port number never used before, and the worker that should read the port.
    pub(super) fn next(&self) -> Option<(PortId, usize)> {
        let mut ports = lock(&self.0);
        let id = PortId(ports.next);
        ports.next = ports.next.checked_add(1)?;
        let reader = match ports.placement {
            Placement::ByNeed => 0,
            Placement::Even => (0..ports.loads.len()).min_by_key(|worker| ports.loads[*worker])?,
        };
        Some((id, reader))
    }

    pub(super) fn insert(&self, port: Arc<Port>, reader: usize) {
        let mut ports = lock(&self.0);
        ports.loads[reader] += 1;
        ports.note_mirror(&port);
        let record = Record {
            seen: port.counts(),
            port,
            reader,
            is_read: false,
            is_shut: false,
        };
        ports.ports.insert(record.port.id, record);
    }

    pub(super) fn remove(&self, id: PortId) -> Option<Arc<Port>> {
        let mut ports = lock(&self.0);
        let record = ports.ports.remove(&id)?;
        ports.loads[record.reader] -= 1;
        ports.mirrored.remove(&id);
        Some(record.port)
    }

    pub(super) fn port(&self, id: PortId) -> Option<Arc<Port>> {
        let ports = lock(&self.0);
        Some(Arc::clone(&ports.ports.get(&id)?.port))
    }

    /// Every port, by number.
    pub(super) fn all(&self) -> Vec<Arc<Port>> {
        let ports = lock(&self.0);
        let all = ports.ports.values().map(|record| Arc::clone(&record.port));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|port| port.id);
        all
    }

    /// The port takes the place of the one with its number.
    pub(super) fn exchange(&self, port: Arc<Port>) {
        let mut ports = lock(&self.0);
        if let Some(record) = ports.ports.get_mut(&port.id) {
            record.port = Arc::clone(&port);
            ports.note_mirror(&port);
        }
    }

    /// The ports that are mirrored to that one.
    pub(super) fn mirrored_to(&self, target: PortId) -> Vec<PortId> {
        let ports = lock(&self.0);
        let mirrored = ports.mirrored.iter().filter(|(_, to)| **to == target);
        mirrored.map(|(from, _)| *from).collect()
    }

    /// Who reads the port, if anybody does.
    pub(super) fn reader(&self, id: PortId) -> Option<usize> {
        let ports = lock(&self.0);
        let open = ports.ports.get(&id).filter(|record| !record.is_shut);
        open.map(|record| record.reader)
    }

    /// The port is read from now on. Who shall read it, unless it was read before.
    pub(super) fn begin(&self, id: PortId) -> Option<usize> {
        let mut ports = lock(&self.0);
        let record = ports.ports.get_mut(&id).filter(|record| !record.is_shut)?;
        let was_read = std::mem::replace(&mut record.is_read, true);
        (!was_read).then_some(record.reader)
    }

    /// The port is read no more. Who read it, if anybody did.
    pub(super) fn stop(&self, id: PortId) -> Option<usize> {
        let mut ports = lock(&self.0);
        let record = ports.ports.get_mut(&id).filter(|record| !record.is_shut)?;
        std::mem::take(&mut record.is_read).then_some(record.reader)
    }

    pub(super) fn is_read(&self, id: PortId) -> bool {
        let ports = lock(&self.0);
        ports.ports.get(&id).is_some_and(|record| record.is_read)
    }

    /// The port is taken from the workers. `None` where there is no such port, or it was before.
    pub(super) fn shut(&self, id: PortId) -> Option<Arc<Port>> {
        let mut ports = lock(&self.0);
        let record = ports.ports.get_mut(&id)?;
        let was_shut = std::mem::replace(&mut record.is_shut, true);
        (!was_shut).then(|| Arc::clone(&record.port))
    }

    /// The ports that workers have, and who reads each.
    pub(super) fn open(&self) -> Vec<(Arc<Port>, usize)> {
        let ports = lock(&self.0);
        let open = ports.ports.values().filter(|record| !record.is_shut);
        open.map(|record| (Arc::clone(&record.port), record.reader))
            .collect()
    }

    /// The port has another reader.
    pub(super) fn moved(&self, id: PortId, reader: usize) {
        let mut ports = lock(&self.0);
        let Some(record) = ports.ports.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut record.reader, reader);
        ports.loads[before] -= 1;
        ports.loads[reader] += 1;
    }

    /// The worker that has read least since the last look, and what `worker` should hand to it.
    pub(super) fn relief(&self, worker: usize) -> Option<(usize, Vec<PortId>)> {
        let mut ports = lock(&self.0);
        let mut works = vec![0; ports.loads.len()];
        let mut own = Vec::new();
        for (id, record) in &mut ports.ports {
            let work = record.work();
            works[record.reader] += work;
            if record.reader == worker && !record.is_shut {
                own.push((*id, work));
            }
        }
        let helper = (0..works.len())
            .filter(|helper| *helper != worker)
            .min_by_key(|helper| works[*helper])?;
        Some((helper, handed_over(own, works[helper])))
    }

    /// The ports that the first worker does not read, and who does.
    pub(super) fn strays(&self) -> Vec<(PortId, usize)> {
        let ports = lock(&self.0);
        let is_stray = |record: &Record| record.reader != 0 && !record.is_shut;
        let strays = ports.ports.iter().filter(|(_, record)| is_stray(record));
        strays.map(|(id, record)| (*id, record.reader)).collect()
    }

    /// Ports that each worker reads.
    pub(super) fn loads(&self) -> Vec<usize> {
        lock(&self.0).loads.clone()
    }

    /// Those of `ids` that are attached.
    pub(super) fn ports(&self, ids: &[PortId]) -> Vec<Arc<Port>> {
        let ports = lock(&self.0);
        let records = ids.iter().filter_map(|id| ports.ports.get(id));
        records.map(|record| Arc::clone(&record.port)).collect()
    }

    /// Every bridge that has a port, once.
    pub(super) fn bridges(&self) -> Vec<Arc<Bridge>> {
        let ports = lock(&self.0);
        let mut bridges: Vec<_> = ports
            .ports
            .values()
            .map(|record| Arc::clone(&record.port.bridge))
            .collect();
        bridges.sort_by_key(Arc::as_ptr);
        bridges.dedup_by(|a, b| Arc::ptr_eq(a, b));
        bridges
    }
}
