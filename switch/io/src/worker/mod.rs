//! The threads that move frames.
//!
//! # Theory of operation
//!
//! A worker owns its table of ports and one engine. Others reach it through a bounded queue of commands and an eventfd
//! that interrupts its wait. It blocks in the kernel, in one call, whenever there is nothing to do.

mod batch;
mod epoll;
mod forward;
mod join;
mod load;
mod moderation;
mod table;
mod uring;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{CpuSet, sched_setaffinity};
use switch_core::PortId;

pub(crate) use self::load::Worked;
pub(crate) use self::table::PortHasher;
use crate::events::Events;
use crate::port::Port;
use crate::switch::{EngineKind, Overload, StartSwitch};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Uring,
    Epoll,
}

impl Engine {
    pub(crate) const fn kind(self) -> EngineKind {
        match self {
            Self::Uring => EngineKind::Uring,
            Self::Epoll => EngineKind::Epoll,
        }
    }
}

/// What a worker is told at its start.
pub(crate) struct Setup {
    pub(crate) index: usize,
    pub(crate) engine: Engine,
    pub(crate) core: Option<usize>,
    pub(crate) join: bool,
    pub(crate) start: Instant,
    pub(crate) events: Events,
    /// Where a worker says that it has too much to do.
    pub(crate) overload: Overload,
    /// Where a worker says how much it has done.
    pub(crate) worked: Worked,
}

/// What a worker is told later. Confirmations are sent when it is done.
enum Command {
    /// May be written from now on.
    Attach(Arc<Port>, SyncSender<()>),
    /// Is read from now on; the answer is why it cannot be.
    Listen(PortId, SyncSender<Option<io::Error>>),
    /// Is not read any more, but written; confirmed when what was read has been sent.
    Release(PortId, SyncSender<()>),
    /// Confirmed when the last operation on the descriptor has ended.
    Detach(PortId, SyncSender<()>),
    Stop,
}

/// The switch's hold on a worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    commands: SyncSender<Command>,
    wake: Arc<OwnedFd>,
    worked: Worked,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Starts a worker and waits until it is ready or has failed.
    pub(crate) fn start(setup: Setup) -> Result<Self, StartSwitch> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| StartSwitch::Worker(error.into()))?;
        let wake = Arc::new(wake);
        let (commands, received) = sync_channel(COMMANDS);
        let mailbox = Mailbox {
            commands: received,
            wake: Arc::clone(&wake),
        };
        let (ready, readiness) = sync_channel(1);
        let worked = setup.worked.clone();
        let thread = std::thread::Builder::new()
            .name(format!("switch-{}", setup.index))
            .spawn(move || run(setup, mailbox, &ready))
            .map_err(StartSwitch::Worker)?;
        match readiness.recv() {
            Ok(Ok(())) => Ok(Self {
                commands,
                wake,
                worked,
                thread: Some(thread),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartSwitch::Worker(io::Error::other(
                "the thread ended at once",
            ))),
        }
    }

    pub(crate) fn attach(&self, port: Arc<Port>) -> Result<(), io::Error> {
        let (done, confirmation) = sync_channel(1);
        self.send(Command::Attach(port, done))?;
        confirmation.recv().map_err(|_| stopped())
    }

    /// `Ok(Some)`: the engine cannot watch the port.
    pub(crate) fn listen(&self, id: PortId) -> Result<Option<io::Error>, io::Error> {
        let (done, confirmation) = sync_channel(1);
        self.send(Command::Listen(id, done))?;
        confirmation.recv().map_err(|_| stopped())
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
        self.worked.get()
    }

    fn send(&self, command: Command) -> io::Result<()> {
        self.commands.send(command).map_err(|_| stopped())?;
        // The counter saturates long after "readable", so a failed write changes nothing.
        let _ = rustix::io::write(self.wake.as_fd(), &1_u64.to_ne_bytes());
        Ok(())
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

/// A worker's end of its commands.
struct Mailbox {
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
}

impl Mailbox {
    /// Resets the eventfd; commands sent later set it again.
    fn acknowledge(&self) {
        let _ = rustix::io::read(self.wake.as_fd(), &mut [0; 8]);
    }

    fn next(&self) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            // The switch was dropped without saying so.
            Err(TryRecvError::Disconnected) => Some(Command::Stop),
        }
    }
}

/// The thread of a worker.
fn run(setup: Setup, mailbox: Mailbox, ready: &SyncSender<Result<(), StartSwitch>>) {
    let index = setup.index;
    let result = match setup.core.map_or(Ok(()), pin) {
        Err(error) => Err(error),
        Ok(()) => match setup.engine {
            Engine::Epoll => {
                epoll::Worker::new(setup, mailbox).map(|worker| start(ready, || worker.run()))
            }
            Engine::Uring => {
                uring::Worker::new(setup, mailbox).map(|worker| start(ready, || worker.run()))
            }
        }
        .map_err(StartSwitch::Worker),
    };
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(worker = index, %error, "a switch worker stopped"),
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    }
}

fn start(
    ready: &SyncSender<Result<(), StartSwitch>>,
    run: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
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

/// Commands that wait; their senders wait too when there are more.
const COMMANDS: usize = 64;
