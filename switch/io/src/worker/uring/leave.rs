//! Commands, and how a port leaves: cancel its request, wait for its writes, let go.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use switch_core::PortId;

use super::{WAKE, Worker};
use crate::worker::mailbox::Command;
use crate::worker::table::{Entry, Watch};

impl Worker {
    /// Carries out the commands. `Break`: the last was to stop.
    pub(super) fn obey(&mut self) -> io::Result<ControlFlow<()>> {
        self.mailbox.acknowledge();
        self.ring.poll_once(self.mailbox.wake.as_fd(), WAKE)?;
        while let Some(command) = self.mailbox.next() {
            match command {
                Command::Attach(port, done) => {
                    self.relay.ports.insert(port);
                    let _ = done.send(());
                }
                Command::Listen(id, done) => {
                    if let Some(entry) = self.relay.ports.entry_mut(id)
                        && entry.watch == Watch::No
                    {
                        entry.watch = Watch::Due;
                        self.due.push_back(id);
                    }
                    let _ = done.send(Ok(()));
                }
                Command::Exchange(port, done) => {
                    // What was started is written before what the other device writes.
                    self.ring.submit_started()?;
                    self.relay.ports.exchange(port);
                    let _ = done.send(());
                }
                Command::Release(id, done) => {
                    self.ring.submit_started()?;
                    self.relay.drain(id);
                    let Some(entry) = self.relay.ports.entry_mut(id) else {
                        let _ = done.send(());
                        continue;
                    };
                    entry.releasing = Some(done);
                    self.cancel(id)?;
                }
                Command::Detach(id, done) => {
                    let Some(entry) = self.relay.ports.entry_mut(id) else {
                        let _ = done.send(());
                        continue;
                    };
                    entry.closing = Some(done);
                    self.cancel(id)?;
                }
                Command::Stop => return Ok(ControlFlow::Break(())),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Ends the request of a port that is leaving.
    pub(super) fn cancel(&mut self, id: PortId) -> io::Result<()> {
        let Some(entry) = self.relay.ports.entry_mut(id) else {
            return Ok(());
        };
        if entry.watch == Watch::Armed {
            return match entry.port.device.raw_tap() {
                Some(_) => self.ring.cancel_read(id.0),
                None => self.ring.cancel_poll(id.0),
            };
        }
        entry.watch = Watch::No;
        self.let_go(id);
        Ok(())
    }

    /// Lets go of a port that is leaving and has no request in the kernel.
    fn let_go(&mut self, id: PortId) {
        if let Some(entry) = self.relay.ports.entry_mut(id) {
            self.released.extend(entry.releasing.take());
        }
        self.finish_detach(id);
    }

    /// Lets go of a closing port once nothing of it is left in the kernel.
    pub(super) fn finish_detach(&mut self, id: PortId) {
        let idle = |entry: &Entry| {
            entry.closing.is_some() && entry.watch == Watch::No && entry.writes.get() == 0
        };
        if !self.relay.ports.entry(id).is_some_and(idle) {
            return;
        }
        if let Some(Entry {
            port,
            closing: Some(done),
            ..
        }) = self.relay.ports.remove(id)
        {
            drop(port);
            let _ = done.send(());
        }
    }

    /// A request that could not be cancelled because it was just running is cancelled again.
    pub(super) fn took_cancel(&mut self, id: PortId, result: &io::Result<u32>) {
        let running = |entry: &Entry| entry.is_leaving() && entry.watch == Watch::Armed;
        if result.is_err() && self.relay.ports.entry(id).is_some_and(running) {
            self.cancel_again.push(id);
        }
    }

    /// The kernel holds no read or poll of the port any more.
    pub(super) fn disarmed(&mut self, id: PortId) {
        let Some(entry) = self.relay.ports.entry_mut(id) else {
            return;
        };
        if entry.is_leaving() {
            entry.watch = Watch::No;
            return self.let_go(id);
        }
        if entry.watch == Watch::Armed {
            entry.watch = Watch::Due;
            self.due.push_back(id);
        }
    }
}
