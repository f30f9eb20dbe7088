//! The engine on io_uring: one system call a round.
//!
//! # Theory of operation
//!
//! Every bare TAP has a multishot read, which fills buffers of the ring as frames come. A round submits the writes of the
//! last round, waits for at least one completion (in a flood for more, see [`moderation`](super::moderation)) and takes
//! all: frames are classified as they come and dispatched a batch at a time. A frame is written from the very buffer it
//! was read into, to as many TAPs as it must go.
//!
//! Other ports (channels, decorated TAPs, the basic driver) are polled: a one-shot poll moves the port to a list, and each
//! round reads one batch of each port on it until the port has nothing left. A bare TAP that has more than the buffers of
//! the ring can take is on that list too, so that each port has its turn however much the others send; what was started
//! before is written before.
//!
//! A port is detached when its read has been cancelled and its writes have completed, both of which are completions. It
//! is released to another worker when its read has been cancelled and the round after has submitted what was read.

mod courier;
mod leave;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use switch_core::{PortId, Time, VnetHeader};

use self::courier::RingCourier;
use super::batch::{Batch, classify};
use super::mailbox::Mailbox;
use super::moderation::Moderation;
use super::relay::Relay;
use super::setup::Setup;
use super::table::Watch;
use crate::frame_port::{FrameBuffer, Written};
use crate::sys::ring::{BufferLayout, Completion, Filled, FrameRing};

pub(super) struct Worker {
    ring: FrameRing,
    mailbox: Mailbox,
    relay: Relay,
    /// Where the frames are that the ring read and that are still to be sent.
    received: Vec<Filled>,
    /// Who sent the frame in each buffer of the ring, and its length.
    origins: Vec<(PortId, usize)>,
    /// Ports to be read or polled again.
    due: VecDeque<PortId>,
    /// Polled ports that may have frames.
    readable: VecDeque<PortId>,
    /// Ports that are leaving and whose request is to be cancelled again.
    cancel_again: Vec<PortId>,
    /// Ports that are not read any more; to be confirmed when what was read from them is on its way.
    released: Vec<SyncSender<()>>,
    moderation: Moderation,
    woken: bool,
}

impl Worker {
    pub(super) fn new(setup: Setup, mailbox: Mailbox) -> io::Result<Self> {
        let mut ring = FrameRing::new(ENTRIES, LAYOUT)?;
        ring.poll_once(mailbox.wake.as_fd(), WAKE)?;
        Ok(Self {
            ring,
            mailbox,
            received: Vec::with_capacity(Batch::LEN),
            origins: vec![(PortId(0), 0); usize::from(LAYOUT.count)],
            due: VecDeque::new(),
            readable: VecDeque::new(),
            cancel_again: Vec::new(),
            released: Vec::new(),
            moderation: Moderation::new(setup.start),
            relay: Relay::new(setup),
            woken: false,
        })
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        let mut least_sleep = Duration::ZERO;
        loop {
            self.arm_due()?;
            while let Some(id) = self.cancel_again.pop() {
                self.cancel(id)?;
            }
            if self.readable.is_empty() && self.released.is_empty() {
                self.ring.submit_and_wait(least_sleep)?;
            } else {
                self.ring.submit()?;
            }
            for done in self.released.drain(..) {
                let _ = done.send(());
            }
            let woke = Instant::now();
            let now = self.relay.begin_round(woke);
            self.take_completions(now);
            self.read_polled(now)?;
            least_sleep = self.moderation.least_sleep(woke, self.relay.load_share());
            if std::mem::take(&mut self.woken) && self.obey()?.is_break() {
                return Ok(());
            }
        }
    }

    fn take_completions(&mut self, now: Time) {
        while let Some(completion) = self.ring.next_completion() {
            match completion {
                Completion::Read {
                    token,
                    result,
                    armed,
                } => self.took_read(PortId(token), result, armed, now),
                Completion::Written {
                    token,
                    result,
                    buffer,
                } => self.took_write(PortId(token), result, buffer),
                Completion::Ready { token: WAKE } => self.woken = true,
                Completion::Ready { token } => self.took_ready(PortId(token)),
                Completion::Cancelled { token, result } => self.took_cancel(PortId(token), &result),
            }
        }
        self.dispatch();
    }

    fn took_read(&mut self, id: PortId, result: io::Result<Filled>, armed: bool, now: Time) {
        match result {
            Ok(received) => {
                if let Some(entry) = self.relay.ports.entry(id) {
                    entry.failures.set(0);
                }
                self.classify(id, received, now);
            }
            // The port has frames and there is no buffer for them: it is read like a polled port until it has none.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                return self.took_ready(id);
            }
            Err(error) => self.read_failed(id, &error),
        }
        if !armed {
            self.disarmed(id);
        }
    }

    fn classify(&mut self, id: PortId, received: Filled, now: Time) {
        let Some(port) = self.relay.ports.port(id) else {
            return self.ring.release(received.buffer);
        };
        self.relay.forwarder.busy.with(id);
        let classified = classify(
            port,
            self.relay.forwarder.worker,
            now,
            self.ring.bytes_mut(received),
        );
        self.moderation.took(1);
        self.origins[usize::from(received.buffer)] = (id, received.len);
        self.received.push(received);
        if self.relay.add(classified) {
            self.dispatch();
        }
    }

    /// Sends the frames that the ring read, and lets go of their buffers.
    fn dispatch(&mut self) {
        let mut courier = RingCourier {
            ring: &mut self.ring,
            received: &mut self.received,
            origins: &mut self.origins,
        };
        self.relay.dispatch(&mut courier);
        for received in self.received.drain(..) {
            self.ring.release(received.buffer);
        }
    }

    fn took_write(&mut self, id: PortId, result: io::Result<usize>, buffer: u16) {
        let (origin, len) = self.origins[usize::from(buffer)];
        let Some(entry) = self.relay.ports.entry(id) else {
            return;
        };
        entry.writes.set(entry.writes.get().saturating_sub(1));
        let written = Written::of(len, result);
        // An ingress that was detached meanwhile has no counters to book drops on.
        let ingress = self
            .relay
            .ports
            .entry(origin)
            .map_or(&entry.port, |origin| &origin.port);
        self.relay.forwarder.count(ingress, &entry.port, written);
        self.finish_detach(id);
    }

    fn read_failed(&mut self, id: PortId, error: &io::Error) {
        let Some(entry) = self.relay.ports.entry(id) else {
            return;
        };
        if error.raw_os_error() == Some(libc::ECANCELED) || entry.is_leaving() {
            return;
        }
        if self.relay.fail(id, error, false)
            && let Some(entry) = self.relay.ports.entry_mut(id)
        {
            entry.watch = Watch::No;
        }
    }

    fn took_ready(&mut self, id: PortId) {
        let Some(entry) = self.relay.ports.entry_mut(id) else {
            return;
        };
        if entry.is_leaving() {
            return self.disarmed(id);
        }
        entry.watch = Watch::Due;
        self.readable.push_back(id);
    }

    /// Reads one batch of each polled port that may have frames.
    fn read_polled(&mut self, now: Time) -> io::Result<()> {
        if !self.readable.is_empty() {
            self.ring.submit_started()?;
        }
        for _ in 0..self.readable.len() {
            let Some(id) = self.readable.pop_front() else {
                break;
            };
            match self.relay.pass_on(id, now) {
                Ok(0) => {}
                Ok(count) => {
                    self.moderation.took(count);
                    self.readable.push_back(id);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.due.push_back(id),
                Err(error) => {
                    self.read_failed(id, &error);
                    if self
                        .relay
                        .ports
                        .entry(id)
                        .is_some_and(|entry| entry.watch == Watch::Due)
                    {
                        self.due.push_back(id);
                    }
                }
            }
        }
        Ok(())
    }

    /// Arms the reads and polls that are due, in the order they became so, while buffers are at hand.
    fn arm_due(&mut self) -> io::Result<()> {
        for _ in 0..self.due.len() {
            let Some(id) = self.due.pop_front() else {
                break;
            };
            let Some(entry) = self.relay.ports.entry_mut(id) else {
                continue;
            };
            if entry.is_leaving() || entry.watch != Watch::Due {
                continue;
            }
            match entry.port.device.raw_tap() {
                Some(_) if self.ring.free_buffers() < FREE_BUFFERS_MIN => {
                    self.due.push_back(id);
                    continue;
                }
                Some(fd) => self.ring.read_multishot(fd, id.0)?,
                None => self.ring.poll_once(entry.port.device.as_fd(), id.0)?,
            }
            entry.watch = Watch::Armed;
        }
        Ok(())
    }
}

/// Token of the eventfd; a switch runs out of port numbers before.
const WAKE: u32 = u32::MAX;
const ENTRIES: u32 = 256;
const LAYOUT: BufferLayout = BufferLayout {
    count: 64,
    stride: FrameBuffer::LEN,
    headroom: FrameBuffer::HEADROOM,
};
/// Reads are armed again only when so many buffers are back, lest they stop at once.
const FREE_BUFFERS_MIN: usize = 16;
const _: () = assert!(FrameBuffer::HEADROOM + VnetHeader::LEN < FrameBuffer::LEN);
