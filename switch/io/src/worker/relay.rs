//! What both engines do alike: read a batch of a port, let its bridge decide, send it on.

use std::io;
use std::time::Instant;

use switch_core::{PortId, Time};

use super::batch::{Batch, Classified, Places, classify_read};
use super::forward::{Courier, Forwarder};
use super::load::Load;
use super::setup::Setup;
use super::table::{Entry, PortTable};
use crate::clock::time_at;
use crate::events::{Events, SwitchEvent};
use crate::frame_port::{FrameBuffer, is_gone};
use crate::overload::Overload;

/// A worker's ports, and what it takes to move frames between them.
pub(super) struct Relay {
    pub(super) ports: PortTable,
    pub(super) forwarder: Forwarder,
    batch: Batch,
    buffers: Vec<FrameBuffer>,
    events: Events,
    start: Instant,
    load: Load,
    overload: Overload,
}

impl Relay {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            ports: PortTable::default(),
            forwarder: Forwarder::new(setup.index, setup.join),
            batch: Batch::new(),
            buffers: std::iter::repeat_with(FrameBuffer::new)
                .take(Batch::LEN)
                .collect(),
            events: setup.events,
            start: setup.start,
            load: Load::new(setup.worked),
            overload: setup.overload,
        }
    }

    /// A round begins, after the wait: says so where the worker has too much to do. Gives the time by which bridges are asked.
    pub(super) fn begin_round(&mut self, woke: Instant) -> Time {
        if self.load.take_overload(woke) {
            self.overload.tell(self.forwarder.worker);
        }
        time_at(self.start, woke)
    }

    /// The share of its time that the worker has worked lately.
    pub(super) const fn load_share(&self) -> f64 {
        self.load.share()
    }

    /// Reads one batch of the port and sends it. How many frames it was; none when the port is not this worker's to read.
    pub(super) fn pass_on(&mut self, id: PortId, now: Time) -> io::Result<usize> {
        let Some(entry) = self.ports.readable(id) else {
            return Ok(0);
        };
        let port = &entry.port;
        let count = port.device.read(&mut self.buffers)?;
        entry.failures.set(0);
        for buffer in &mut self.buffers[..count] {
            let worker = self.forwarder.worker;
            let classified = classify_read(&self.ports, port, worker, now, buffer);
            self.batch.push(classified);
        }
        let mut courier = Buffers(&self.buffers);
        self.forwarder
            .dispatch(&self.ports, &self.batch, &mut courier);
        self.batch.clear();
        Ok(count)
    }

    /// Adds a frame that the engine read itself to those that [`Self::dispatch`] sends; true when that must come next.
    pub(super) fn add(&mut self, classified: Classified) -> bool {
        self.batch.push(classified);
        self.batch.is_full()
    }

    /// Sends what was added.
    pub(super) fn dispatch(&mut self, courier: &mut impl Courier) {
        self.forwarder.dispatch(&self.ports, &self.batch, courier);
        self.batch.clear();
    }

    /// Books a failed read. True when nothing will ever come from the port again, of which the switch's owner is told.
    pub(super) fn fail(&self, id: PortId, error: &io::Error, hung_up: bool) -> bool {
        let Some(entry) = self.ports.entry(id) else {
            return false;
        };
        entry.failures.set(entry.failures.get() + 1);
        let gone = hung_up || is_gone(error) || entry.failures.get() > FAILURES_MAX;
        if gone {
            tracing::info!(port = id.0, %error, "port is gone");
            self.events.emit(SwitchEvent::PortGone(id));
        }
        gone
    }
}

/// Frames in the worker's own buffers, written one system call each.
struct Buffers<'a>(&'a [FrameBuffer]);

impl Courier for Buffers<'_> {
    fn envelope(&self, place: usize) -> &[u8] {
        self.0[place].envelope()
    }

    fn start(&mut self, _egress: &Entry, places: Places) -> Places {
        places
    }

    fn settle(&mut self) {}
}

/// Failed reads in a row after which a port counts as gone.
const FAILURES_MAX: u32 = 16;
