//! The threads that move frames.
//!
//! # Theory of operation
//!
//! A worker owns its table of ports and one engine. Others reach it through a bounded queue of commands and an eventfd
//! that interrupts its wait. It blocks in the kernel, in one call, whenever there is nothing to do.
//!
//! A worker that panics, or whose engine fails, takes nothing along but what it had read and not yet sent: its table and its
//! engine go with it, and another starts in its place ([`WorkerHandle::restart`]). It says which port it was busy with.

mod audience;
mod batch;
mod buffers;
mod busy;
mod copies;
mod epoll;
mod forward;
mod join;
mod load;
mod mailbox;
mod moderation;
mod relay;
mod sample;
mod setup;
mod sights;
mod table;
mod tally;
mod uring;
mod variants;
mod vlans;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use switch_core::PortId;

pub(crate) use self::busy::Busy;
pub(crate) use self::load::Worked;
use self::mailbox::{Command, Letterbox, Mailbox};
pub(crate) use self::setup::Setup;
pub use self::tally::Moved;
pub(crate) use self::tally::Tally;
use crate::confine::confine;
use crate::engine::EngineKind;
use crate::error::StartSwitch;
use crate::port::Port;

/// The switch's hold on a worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    letterbox: Letterbox,
    setup: Setup,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Starts a worker and waits until it is ready or has failed.
    pub(crate) fn start(setup: Setup) -> Result<Self, StartSwitch> {
        let (letterbox, mailbox) = mailbox::new().map_err(StartSwitch::Worker)?;
        let (ready, readiness) = sync_channel(1);
        let own = setup.clone();
        let thread = std::thread::Builder::new()
            .name(format!("switch-{}", setup.index))
            .spawn(move || live(own, mailbox, &ready))
            .map_err(StartSwitch::Worker)?;
        match readiness.recv() {
            Ok(Ok(())) => Ok(Self {
                letterbox,
                setup,
                thread: Some(thread),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartSwitch::Worker(io::Error::other(
                "the thread ended at once",
            ))),
        }
    }

    /// Starts another worker in place of one that has ended. It has no ports yet. Gives the port that the one before it was
    /// busy with.
    pub(crate) fn restart(&mut self) -> Result<Option<PortId>, StartSwitch> {
        if let Some(thread) = self.thread.take() {
            // How it ended has been said.
            let _ = thread.join();
        }
        let setup = Setup {
            life: self.setup.life + 1,
            busy: Busy::default(),
            ..self.setup.clone()
        };
        let busy = self.setup.busy.port();
        *self = Self::start(setup)?;
        Ok(busy)
    }

    /// How many have ended in its place.
    pub(crate) fn life(&self) -> u32 {
        self.setup.life
    }

    pub(crate) fn attach(&self, port: Arc<Port>) -> Result<(), io::Error> {
        self.start_attach(port)?.recv().map_err(|_| stopped())
    }

    /// Starts to attach; the receiver gets the confirmation.
    pub(crate) fn start_attach(&self, port: Arc<Port>) -> io::Result<Receiver<()>> {
        let (done, confirmation) = sync_channel(1);
        self.send(Command::Attach(port, done))?;
        Ok(confirmation)
    }

    /// Fails when the engine cannot watch the port.
    pub(crate) fn listen(&self, id: PortId) -> Result<(), io::Error> {
        self.start_listen(id)?.recv().map_err(|_| stopped())?
    }

    /// Starts to listen; the receiver gets the outcome.
    pub(crate) fn start_listen(&self, id: PortId) -> io::Result<Receiver<io::Result<()>>> {
        let (done, confirmation) = sync_channel(1);
        self.send(Command::Listen(id, done))?;
        Ok(confirmation)
    }

    /// When this returns the worker has the port in place of another of the same number, and has written what it wrote to that.
    pub(crate) fn exchange(&self, port: Arc<Port>) -> Result<(), io::Error> {
        self.start_exchange(port)?.recv().map_err(|_| stopped())
    }

    /// Starts an exchange; the receiver gets the confirmation.
    pub(crate) fn start_exchange(&self, port: Arc<Port>) -> io::Result<Receiver<()>> {
        let (done, confirmation) = sync_channel(1);
        self.send(Command::Exchange(port, done))?;
        Ok(confirmation)
    }

    /// When this returns the worker does not read the port, and has sent what it had read.
    pub(crate) fn release(&self, id: PortId) -> Result<(), io::Error> {
        let (done, confirmation) = sync_channel(1);
        self.send(Command::Release(id, done))?;
        confirmation.recv().map_err(|_| stopped())
    }

    /// Starts to detach; the receiver gets the confirmation. `None`: the worker has stopped.
    pub(crate) fn detach(&self, id: PortId) -> Option<Receiver<()>> {
        let (done, confirmation) = sync_channel(1);
        self.send(Command::Detach(id, done)).ok()?;
        Some(confirmation)
    }

    /// The CPU time its thread has used.
    pub(crate) fn worked(&self) -> Duration {
        self.setup.worked.get()
    }

    fn send(&self, command: Command) -> io::Result<()> {
        self.letterbox.post(command).map_err(|_| stopped())
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        let _ = self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread of a worker, to its end. What it owns is gone before anybody hears of that.
fn live(setup: Setup, mailbox: Mailbox, ready: &SyncSender<Result<(), StartSwitch>>) {
    let (index, life, ends) = (setup.index, setup.life, setup.ends.clone());
    let ended = catch_unwind(AssertUnwindSafe(|| run(setup, mailbox, ready)));
    match ended {
        Ok(Ok(())) => return,
        Ok(Err(error)) => tracing::error!(worker = index, %error, "a switch worker failed"),
        Err(_) => tracing::error!(worker = index, "a switch worker panicked"),
    }
    ends.tell(index, life);
}

/// Fails when the worker was at work; that it could not start is said to who waits for that.
fn run(
    setup: Setup,
    mailbox: Mailbox,
    ready: &SyncSender<Result<(), StartSwitch>>,
) -> io::Result<()> {
    let result = match setup.core.map_or(Ok(()), pin) {
        Err(error) => Err(error),
        Ok(()) => match setup.engine {
            EngineKind::Epoll => {
                epoll::Worker::new(setup, mailbox).map(|worker| start(ready, || worker.run()))
            }
            EngineKind::Uring => {
                uring::Worker::new(setup, mailbox).map(|worker| start(ready, || worker.run()))
            }
        }
        .map_err(StartSwitch::Worker),
    };
    result.unwrap_or_else(|error| {
        let _ = ready.send(Err(error));
        Ok(())
    })
}

fn start(
    ready: &SyncSender<Result<(), StartSwitch>>,
    run: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    if let Err(error) = confine() {
        tracing::warn!(%error, "a switch worker may do more than it needs");
    }
    let _ = ready.send(Ok(()));
    run()
}

fn pin(core: usize) -> Result<(), StartSwitch> {
    let failed = |error| StartSwitch::Pin { core, error };
    if core >= CpuSet::MAX_CPU {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| failed(error.into()))
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the worker has stopped")
}
