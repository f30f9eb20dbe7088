//! The ports of a switch, for its owner's questions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use switch_core::{Bridge, PortCounts, PortId};

use super::lock;
use crate::port::Port;

/// What is attached; the workers have copies of their own.
#[derive(Debug)]
pub(super) struct Registry(Mutex<Ports>);

#[derive(Debug)]
struct Ports {
    ports: HashMap<PortId, Record>,
    /// Ports that each worker reads.
    loads: Vec<usize>,
    next: u32,
}

struct Record {
    port: Arc<Port>,
    reader: usize,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.port.id)
            .field("reader", &self.reader)
            .finish()
    }
}

impl Registry {
    pub(super) fn new(workers: usize) -> Self {
        Self(Mutex::new(Ports {
            ports: HashMap::new(),
            loads: vec![0; workers],
            next: 1,
        }))
    }

    /// A port number never used before, and the worker that should read the port.
    pub(super) fn next(&self) -> Option<(PortId, usize)> {
        let mut ports = lock(&self.0);
        let id = PortId(ports.next);
        ports.next = ports.next.checked_add(1)?;
        let reader = (0..ports.loads.len()).min_by_key(|worker| ports.loads[*worker])?;
        Some((id, reader))
    }

    pub(super) fn insert(&self, port: Arc<Port>, reader: usize) {
        let mut ports = lock(&self.0);
        ports.loads[reader] += 1;
        ports.ports.insert(port.id, Record { port, reader });
    }

    pub(super) fn remove(&self, id: PortId) -> Option<Arc<Port>> {
        let mut ports = lock(&self.0);
        let record = ports.ports.remove(&id)?;
        ports.loads[record.reader] -= 1;
        Some(record.port)
    }

    pub(super) fn counts(&self, id: PortId) -> Option<PortCounts> {
        lock(&self.0)
            .ports
            .get(&id)
            .map(|record| record.port.counts())
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
