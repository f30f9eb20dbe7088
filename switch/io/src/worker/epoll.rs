//! The engine that needs nothing but read(2), write(2) and epoll.
//!
//! # Theory of operation
//!
//! Level-triggered: each ready port is read once, up to a batch, and what is left makes it ready again behind the others
//! (the kernel rotates its ready list), so no port starves another. Watching costs nothing per idle port.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use switch_core::PortId;

use super::batch::{Batch, Places, classify_read};
use super::forward::{Courier, Forwarder};
use super::load::Load;
use super::table::{Entry, PortTable, Watch};
use super::{Command, Mailbox, Setup};
use crate::events::{Events, SwitchEvent};
use crate::frame_port::{FrameBuffer, is_gone};
use crate::switch::{Overload, time_since};

pub(super) struct Worker {
    epoll: OwnedFd,
    mailbox: Mailbox,
    ports: PortTable,
    forwarder: Forwarder,
    buffers: Vec<FrameBuffer>,
    batch: Batch,
    events: Events,
    start: Instant,
    load: Load,
    overload: Overload,
}

impl Worker {
    pub(super) fn new(setup: Setup, mailbox: Mailbox) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, mailbox.wake.as_fd(), wake, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            mailbox,
            ports: PortTable::default(),
            forwarder: Forwarder::new(setup.index, setup.join),
            buffers: std::iter::repeat_with(FrameBuffer::new)
                .take(Batch::LEN)
                .collect(),
            batch: Batch::new(),
            events: setup.events,
            start: setup.start,
            load: Load::new(setup.worked),
            overload: setup.overload,
        })
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(EVENTS);
        loop {
            ready.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut woken = false;
            for event in &ready {
                match u32::try_from(event.data.u64()) {
                    Ok(number) => self.serve(PortId(number), event.flags),
                    Err(_) => woken = true,
                }
            }
            if self.load.is_too_much(Instant::now()) {
                self.overload.tell(self.forwarder.worker);
            }
            if woken && self.obey() {
                return Ok(());
            }
        }
    }

    fn serve(&mut self, id: PortId, flags: epoll::EventFlags) {
        let Some(port) = self.ports.port(id) else {
            return;
        };
        match port.device.read(&mut self.buffers) {
            Ok(count) => {
                let now = time_since(self.start);
                self.batch.clear();
                for buffer in &mut self.buffers[..count] {
                    let worker = self.forwarder.worker;
                    self.batch
                        .push(classify_read(&self.ports, port, worker, now, buffer));
                }
                let mut courier = Buffers(&self.buffers);
                self.forwarder
                    .dispatch(&self.ports, &self.batch, &mut courier);
            }
            Err(error) => self.read_failed(id, flags, &error),
        }
    }

    /// Ends the watch of a port that failed for good: by its error, or because it claims to be ready and is not.
    fn read_failed(&mut self, id: PortId, flags: epoll::EventFlags, error: &io::Error) {
        let dead = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        let Some(entry) = self.ports.entry_mut(id) else {
            return;
        };
        entry.failures = if error.kind() == io::ErrorKind::WouldBlock {
            0
        } else {
            entry.failures + 1
        };
        if dead || is_gone(error) || entry.failures > FAILURES_MAX {
            tracing::info!(port = id.0, %error, "port is gone");
            self.unwatch(id);
            self.events.emit(SwitchEvent::PortGone(id));
        }
    }

    /// Carries out the commands; `true`: stop.
    fn obey(&mut self) -> bool {
        self.mailbox.acknowledge();
        while let Some(command) = self.mailbox.next() {
            match command {
                Command::Attach(port, done) => {
                    self.ports.insert(port);
                    let _ = done.send(());
                }
                Command::Listen(id, done) => {
                    let _ = done.send(self.watch(id).err());
                }
                Command::Release(id, done) => {
                    self.unwatch(id);
                    let _ = done.send(());
                }
                Command::Detach(id, done) => {
                    self.unwatch(id);
                    drop(self.ports.remove(id));
                    let _ = done.send(());
                }
                Command::Stop => return true,
            }
        }
        false
    }

    fn watch(&mut self, id: PortId) -> io::Result<()> {
        let entry = self.ports.entry_mut(id).ok_or(io::ErrorKind::NotFound)?;
        let data = epoll::EventData::new_u64(u64::from(id.0));
        epoll::add(
            &self.epoll,
            entry.port.device.as_fd(),
            data,
            epoll::EventFlags::IN,
        )?;
        entry.watch = Watch::Armed;
        Ok(())
    }

    fn unwatch(&mut self, id: PortId) {
        let Some(entry) = self.ports.entry_mut(id) else {
            return;
        };
        if entry.watch == Watch::Armed {
            entry.watch = Watch::No;
            // Only a descriptor that is already unwatched makes this fail.
            let _ = epoll::delete(&self.epoll, entry.port.device.as_fd());
        }
    }
}

/// Frames in the worker's own buffers, written one system call each.
pub(super) struct Buffers<'a>(pub(super) &'a [FrameBuffer]);

impl Courier for Buffers<'_> {
    fn envelope(&self, place: usize) -> &[u8] {
        self.0[place].envelope()
    }

    fn start(&mut self, _egress: &Entry, places: Places) -> Places {
        places
    }

    fn settle(&mut self) {}
}

/// Event data of the eventfd; port numbers are below.
const WAKE: u64 = u64::MAX;
const EVENTS: usize = 64;
const FAILURES_MAX: u32 = 16;
