//! The engine that needs nothing but read(2), write(2) and epoll.
//!
//! # Theory of operation
//!
//! Level-triggered: each ready port is read once, up to a batch, and what is left makes it ready again behind the others
//! (the kernel rotates its ready list), so no port starves another. Watching costs nothing per idle port.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use switch_core::{PortId, Time};

use super::mailbox::{Command, Mailbox};
use super::relay::Relay;
use super::setup::Setup;
use super::table::Watch;

pub(super) struct Worker {
    epoll: OwnedFd,
    mailbox: Mailbox,
    relay: Relay,
}

impl Worker {
    pub(super) fn new(setup: Setup, mailbox: Mailbox) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, mailbox.wake.as_fd(), wake, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            mailbox,
            relay: Relay::new(setup),
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
            let now = self.relay.begin_round(Instant::now());
            let mut woken = false;
            for event in &ready {
                match u32::try_from(event.data.u64()) {
                    Ok(number) => self.serve(PortId(number), event.flags, now),
                    Err(_) => woken = true,
                }
            }
            if woken && self.obey().is_break() {
                return Ok(());
            }
        }
    }

    fn serve(&mut self, id: PortId, flags: epoll::EventFlags, now: Time) {
        if let Err(error) = self.relay.pass_on(id, now) {
            self.read_failed(id, flags, &error);
        }
    }

    /// Ends the watch of a port that failed for good: by its error, or because it claims to be ready and is not.
    fn read_failed(&mut self, id: PortId, flags: epoll::EventFlags, error: &io::Error) {
        let hung_up = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        if error.kind() == io::ErrorKind::WouldBlock && !hung_up {
            if let Some(entry) = self.relay.ports.entry(id) {
                entry.failures.set(0);
            }
            return;
        }
        if self.relay.fail(id, error, hung_up) {
            self.unwatch(id);
        }
    }

    /// Carries out the commands. `Break`: the last was to stop.
    fn obey(&mut self) -> ControlFlow<()> {
        self.mailbox.acknowledge();
        while let Some(command) = self.mailbox.next() {
            match command {
                Command::Attach(port, done) => {
                    self.relay.ports.insert(port);
                    let _ = done.send(());
                }
                Command::Listen(id, done) => {
                    let _ = done.send(self.watch(id));
                }
                Command::Exchange(port, done) => {
                    self.relay.ports.exchange(port);
                    let _ = done.send(());
                }
                Command::Release(id, done) => {
                    self.relay.drain(id);
                    self.unwatch(id);
                    let _ = done.send(());
                }
                Command::Detach(id, done) => {
                    self.unwatch(id);
                    drop(self.relay.ports.remove(id));
                    let _ = done.send(());
                }
                Command::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn watch(&mut self, id: PortId) -> io::Result<()> {
        let entry = self
            .relay
            .ports
            .entry_mut(id)
            .ok_or(io::ErrorKind::NotFound)?;
        if entry.watch == Watch::Armed {
            return Ok(());
        }
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
        let Some(entry) = self.relay.ports.entry_mut(id) else {
            return;
        };
        if entry.watch == Watch::Armed {
            entry.watch = Watch::No;
            // Only a descriptor that is already unwatched makes this fail.
            let _ = epoll::delete(&self.epoll, entry.port.device.as_fd());
        }
    }
}

/// Event data of the eventfd; port numbers are below.
const WAKE: u64 = u64::MAX;
const EVENTS: usize = 64;
