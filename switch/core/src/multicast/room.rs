//! How much room is left for records, over all VLANs of a bridge.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::{PortId, PortKind, lock};

/// What is taken of it.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<Taken>);

#[derive(Clone, Debug, Default)]
struct Taken {
    of_port: BTreeMap<PortId, usize>,
    records: usize,
}

impl Room {
    /// The same, for itself.
    pub(crate) fn copy(&self) -> Self {
        Self(Mutex::new(lock(&self.0).clone()))
    }

    /// Room for one record more of the port; whether there was any.
    pub(crate) fn take(&self, port: PortId, kind: PortKind) -> bool {
        let most = match kind {
            PortKind::Tap => RECORDS_OF_SANDBOX_MAX,
            _ => RECORDS_OF_PORT_MAX,
        };
        let mut taken = lock(&self.0);
        let own = taken.of_port.get(&port).copied().unwrap_or(0);
        let is_there = own < most && taken.records < RECORDS_MAX;
        if is_there {
            taken.of_port.insert(port, own + 1);
            taken.records += 1;
        }
        is_there
    }

    /// A record of the port is gone.
    pub(crate) fn give_back(&self, port: PortId) {
        let mut taken = lock(&self.0);
        taken.records = taken.records.saturating_sub(1);
        match taken.of_port.get_mut(&port) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.of_port.remove(&port);
            }
        }
    }
}

/// Of one sandbox's port. Linux lets a process join twenty groups unless told otherwise.
pub(crate) const RECORDS_OF_SANDBOX_MAX: usize = 256;
/// Of a port behind which many stations are.
pub(crate) const RECORDS_OF_PORT_MAX: usize = 4096;
pub(crate) const RECORDS_MAX: usize = 16_384;
