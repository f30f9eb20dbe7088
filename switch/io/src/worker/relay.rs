//! What both engines do alike: read a batch of a port, let its bridge decide, send it on.

use std::io;
use std::time::Instant;

use switch_core::{PortId, Time};

use super::batch::{Batch, Classified, Places, classify_read};
use super::forward::{Courier, Forwarder};
use super::load::Load;
use super::setup::Setup;
use super::table::{Entry, PortTable};
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
            forwarder: Forwarder::new(&setup),
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
        Time::at(self.start, woke)
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
        self.forwarder.busy.with(id);
        let most = entry.appetite.get().min(self.buffers.len());
        let count = port.device.read(&mut self.buffers[..most])?;
        entry.failures.set(0);
        for buffer in &mut self.buffers[..count] {
            let worker = self.forwarder.worker;
            let classified = classify_read(&self.ports, port, worker, now, buffer);
            self.batch.push(classified);
        }
        entry.appetite.set(appetite(&self.batch));
        let mut courier = Buffers(&self.buffers);
        self.forwarder
            .dispatch(&self.ports, &self.batch, &mut courier);
        self.batch.clear();
        Ok(count)
    }

    /// Sends what the port's device holds, which is about to be taken away.
    pub(super) fn drain(&mut self, id: PortId) {
        let now = Time::at(self.start, Instant::now());
        let holds = |relay: &Self| {
            let entry = relay.ports.readable(id);
            entry.is_some_and(|entry| entry.port.device.holds())
        };
        while holds(self) && self.pass_on(id, now).is_ok() {}
    }

    /// Adds a frame that the engine read itself to those that [`Self::dispatch`] sends; true when that must come next.
    #[inline]
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

/// How many frames of a port that had these are read next: few where they were long, since all of them are read before one is written.
fn appetite(batch: &Batch) -> usize {
    let bytes = (0..batch.len()).fold(0, |bytes, place| bytes + batch.entry(place).len);
    let frames = u32::try_from(batch.len().max(1)).unwrap_or(1);
    match bytes / frames > LONG {
        true => FEW,
        false => Batch::LEN,
    }
}

const FEW: usize = 8;
/// Bytes of a frame that takes longer to copy than all else that is done for it.
const LONG: u32 = 16 << 10;
/// Failed reads in a row after which a port counts as gone.
const FAILURES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::event::{EventfdFlags, eventfd};
    use switch_core::{Bridge, BridgeConfig, PortConfig, PortKind};

    use super::*;
    use crate::engine::EngineKind;
    use crate::frame_port::{Capabilities, FramePort, Written};
    use crate::lookout::Sightings;
    use crate::observers::Observers;
    use crate::overload::Requests;
    use crate::port::Port;
    use crate::samples::udp_envelope;
    use crate::sampling::Sampling;
    use crate::vigil::Vigil;
    use crate::worker::busy::Busy;
    use crate::worker::load::Worked;
    use crate::worker::table::Watch;
    use crate::worker::tally::Tally;

    const ID: PortId = PortId(7);

    /// Brings a frame, or fails.
    struct Moody {
        fails: Arc<AtomicBool>,
        fd: OwnedFd,
    }

    impl FramePort for Moody {
        fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(io::Error::from_raw_os_error(libc::ENOMEM));
            }
            buffers[0].fill(&udp_envelope(1));
            Ok(1)
        }

        fn write(&self, _envelopes: &[&[u8]]) -> Written {
            Written::default()
        }

        fn as_fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities::ALL
        }
    }

    /// A relay with one port, whose mood is set.
    fn relay(events: &Events) -> (Relay, Arc<AtomicBool>) {
        let mut relay = Relay::new(Setup {
            index: 0,
            engine: EngineKind::Epoll,
            core: None,
            join: false,
            start: Instant::now(),
            events: events.clone(),
            overload: Requests::new().overload(),
            lookout: Sightings::new().lookout(),
            observers: Observers::default(),
            sampling: Sampling::default(),
            worked: Worked::default(),
            tally: Tally::default(),
            busy: Busy::default(),
            ends: Vigil::new().ends(),
            life: 0,
        });
        let fails = Arc::new(AtomicBool::new(false));
        let device = Moody {
            fails: Arc::clone(&fails),
            fd: eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
        };
        let bridge = Arc::new(Bridge::new(BridgeConfig::default()));
        let config = PortConfig::new(PortKind::Tap, 1500);
        let port = Port::new(ID, Box::new(device), bridge, config, 1);
        relay.ports.insert(Arc::new(port));
        relay.ports.entry_mut(ID).unwrap().watch = Watch::Armed;
        (relay, fails)
    }

    /// Reads once; whether the port is gone.
    fn read(relay: &mut Relay) -> bool {
        match relay.pass_on(ID, Time::default()) {
            Ok(count) => {
                assert_eq!(count, 1);
                false
            }
            Err(error) => relay.fail(ID, &error, false),
        }
    }

    #[test]
    fn a_port_that_fails_now_and_then_stays() {
        let events = Events::default();
        let subscriber = events.subscribe();
        let (mut relay, fails) = relay(&events);
        for n in 0..1000 {
            fails.store(n % 10 != 0, Ordering::Relaxed);
            assert!(!read(&mut relay), "{n}");
        }
        assert!(subscriber.try_recv().is_err());
    }

    #[test]
    fn a_port_that_does_nothing_but_fail_is_gone() {
        let events = Events::default();
        let subscriber = events.subscribe();
        let (mut relay, fails) = relay(&events);
        fails.store(true, Ordering::Relaxed);
        let reads = (1..100).find(|_| read(&mut relay));
        assert_eq!(reads, Some(FAILURES_MAX + 1));
        assert_eq!(subscriber.try_recv(), Ok(SwitchEvent::PortGone(ID)));
    }

    #[test]
    fn a_port_that_another_worker_reads_is_left_alone() {
        let (mut relay, fails) = relay(&Events::default());
        fails.store(true, Ordering::Relaxed);
        relay.ports.entry_mut(ID).unwrap().watch = Watch::No;
        assert_eq!(relay.pass_on(ID, Time::default()).ok(), Some(0));
    }
}
