//! A worker's own table of ports.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use switch_core::PortId;

use crate::frame_port::FrameBuffer;
use crate::hasher::PortHasher;
use crate::port::Port;

/// Ports by number. Used by one thread.
#[derive(Default)]
pub(super) struct PortTable(HashMap<PortId, Entry, BuildHasherDefault<PortHasher>>);

/// A port as one worker sees it.
pub(super) struct Entry {
    pub(super) port: Arc<Port>,
    /// Writes that io_uring has not completed.
    pub(super) writes: Cell<u32>,
    pub(super) watch: Watch,
    /// Failed reads in a row.
    pub(super) failures: Cell<u32>,
    /// How many frames are read from it at once.
    pub(super) appetite: Cell<usize>,
    /// Set while another worker is about to read the port: nothing new is read from it.
    pub(super) releasing: Option<SyncSender<()>>,
    /// Set while the port is being detached: nothing new is started on it.
    pub(super) closing: Option<SyncSender<()>>,
}

/// Whether the worker reads a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// Another worker does, or the port is gone.
    No,
    /// It should, and no request is pending.
    Due,
    /// A request is pending in the kernel.
    Armed,
}

impl Entry {
    /// No read is to be started.
    pub(super) fn is_leaving(&self) -> bool {
        self.releasing.is_some() || self.closing.is_some()
    }

    fn new(port: Arc<Port>) -> Self {
        Self {
            port,
            writes: Cell::new(0),
            watch: Watch::No,
            failures: Cell::new(0),
            appetite: Cell::new(usize::MAX),
            releasing: None,
            closing: None,
        }
    }
}

impl PortTable {
    pub(super) fn insert(&mut self, port: Arc<Port>) {
        self.0.insert(port.id, Entry::new(port));
    }

    /// Puts the port in place of the one with its number, if there is one. What was started on that goes on.
    pub(super) fn exchange(&mut self, port: Arc<Port>) {
        if let Some(entry) = self.0.get_mut(&port.id) {
            entry.port = port;
        }
    }

    pub(super) fn remove(&mut self, id: PortId) -> Option<Entry> {
        self.0.remove(&id)
    }

    pub(super) fn entry(&self, id: PortId) -> Option<&Entry> {
        self.0.get(&id)
    }

    pub(super) fn entry_mut(&mut self, id: PortId) -> Option<&mut Entry> {
        self.0.get_mut(&id)
    }

    /// A port that frames may still be sent to and taken from.
    pub(super) fn port(&self, id: PortId) -> Option<&Port> {
        let entry = self.0.get(&id)?;
        if entry.closing.is_some() {
            return None;
        }
        Some(&entry.port)
    }

    /// A port that this worker may read.
    pub(super) fn readable(&self, id: PortId) -> Option<&Entry> {
        let may_read = |entry: &&Entry| !entry.is_leaving() && entry.watch != Watch::No;
        self.0.get(&id).filter(may_read)
    }

    /// The port that the frame in `buffer`, read from `reader`, counts as coming from. One that has been detached
    /// meanwhile leaves it to the trunk, whose bridge leads nowhere.
    pub(super) fn origin<'a>(&'a self, buffer: &mut FrameBuffer, reader: &'a Port) -> &'a Port {
        let origin = buffer.take_origin();
        origin.and_then(|id| self.port(id)).unwrap_or(reader)
    }
}
