//! How a worker is told what to do: a bounded queue, and an eventfd that interrupts its wait.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, SyncSender, TryRecvError, sync_channel};

use rustix::event::{EventfdFlags, eventfd};
use switch_core::PortId;

use crate::port::Port;

/// What a worker is told after its start. Confirmations are sent when it is done.
pub(super) enum Command {
    /// May be written from now on.
    Attach(Arc<Port>, SyncSender<()>),
    /// Is read from now on, or cannot be.
    Listen(PortId, SyncSender<io::Result<()>>),
    /// Stands for the port of its number from now on, which is read only where both have one device. Confirmed when whatever
    /// this worker wrote to the other has been written.
    Exchange(Arc<Port>, SyncSender<()>),
    /// Is not read any more, but written; confirmed when what was read has been sent, and what the device held
    /// ([`FramePort::holds`](crate::FramePort::holds)) too.
    Release(PortId, SyncSender<()>),
    /// Confirmed when the last operation on the descriptor has ended.
    Detach(PortId, SyncSender<()>),
    Stop,
}

/// The other end of a worker's [`Mailbox`].
#[derive(Debug)]
pub(super) struct Letterbox {
    commands: SyncSender<Command>,
    wake: Arc<OwnedFd>,
}

impl Letterbox {
    /// Gives the command back when the worker has stopped.
    pub(super) fn post(&self, command: Command) -> Result<(), SendError<Command>> {
        self.commands.send(command)?;
        // The counter saturates long after "readable", so a failed write changes nothing.
        let _ = rustix::io::write(self.wake.as_fd(), &1_u64.to_ne_bytes());
        Ok(())
    }
}

/// A worker's end of its commands.
pub(super) struct Mailbox {
    commands: Receiver<Command>,
    pub(super) wake: Arc<OwnedFd>,
}

impl Mailbox {
    /// Resets the eventfd; commands sent later set it again.
    pub(super) fn acknowledge(&self) {
        let _ = rustix::io::read(self.wake.as_fd(), &mut [0; 8]);
    }

    pub(super) fn next(&self) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            // The switch was dropped without saying so.
            Err(TryRecvError::Disconnected) => Some(Command::Stop),
        }
    }
}

pub(super) fn new() -> io::Result<(Letterbox, Mailbox)> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let wake = Arc::new(wake);
    let (commands, received) = sync_channel(COMMANDS);
    let letterbox = Letterbox {
        commands,
        wake: Arc::clone(&wake),
    };
    let mailbox = Mailbox {
        commands: received,
        wake,
    };
    Ok((letterbox, mailbox))
}

/// Commands that wait; their senders wait too when there are more.
const COMMANDS: usize = 64;
