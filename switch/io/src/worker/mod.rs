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
mod mailbox;
mod moderation;
mod relay;
mod setup;
mod table;
mod uring;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use switch_core::PortId;

pub(crate) use self::load::Worked;
use self::mailbox::{Command, Letterbox, Mailbox};
pub(crate) use self::setup::Setup;
use crate::engine::EngineKind;
use crate::error::StartSwitch;
use crate::port::Port;

/// The switch's hold on a worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    letterbox: Letterbox,
    worked: Worked,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Starts a worker and waits until it is ready or has failed.
    pub(crate) fn start(setup: Setup) -> Result<Self, StartSwitch> {
        let (letterbox, mailbox) = mailbox::new().map_err(StartSwitch::Worker)?;
        let (ready, readiness) = sync_channel(1);
        let worked = setup.worked.clone();
        let thread = std::thread::Builder::new()
            .name(format!("switch-{}", setup.index))
            .spawn(move || run(setup, mailbox, &ready))
            .map_err(StartSwitch::Worker)?;
        match readiness.recv() {
            Ok(Ok(())) => Ok(Self {
                letterbox,
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

    /// Fails when the engine cannot watch the port.
    pub(crate) fn listen(&self, id: PortId) -> Result<(), io::Error> {
        let (done, confirmation) = sync_channel(1);
        self.send(Command::Listen(id, done))?;
        confirmation.recv().map_err(|_| stopped())?
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

/// The thread of a worker.
fn run(setup: Setup, mailbox: Mailbox, ready: &SyncSender<Result<(), StartSwitch>>) {
    let index = setup.index;
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
