//! What workers ask of whoever spreads the load.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Instant;

/// Where a worker says that it has too much to do.
#[derive(Clone, Debug)]
pub(crate) struct Overload(SyncSender<Request>);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// This worker has too much to do.
    Relieve(usize),
    Stop,
}

impl Overload {
    /// `worker` has too much to do. Never waits: who does not get through says it again soon.
    pub(crate) fn tell(&self, worker: usize) {
        let _ = self.0.try_send(Request::Relieve(worker));
    }

    /// Nobody is to be relieved any more. Waits until that is queued.
    pub(crate) fn stop(&self) {
        let _ = self.0.send(Request::Stop);
    }
}

/// Requests that nobody has looked at.
#[derive(Debug)]
pub(crate) struct Requests {
    overload: Overload,
    received: Receiver<Request>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        let (sender, received) = sync_channel(WAITING);
        Self {
            overload: Overload(sender),
            received,
        }
    }

    pub(crate) fn overload(&self) -> Overload {
        self.overload.clone()
    }

    /// The next request; waits for it until `due`, or for as long as it takes.
    pub(crate) fn next_before(&self, due: Option<Instant>) -> Result<Request, RecvTimeoutError> {
        match due {
            Some(due) => self
                .received
                .recv_timeout(due.saturating_duration_since(Instant::now())),
            None => self.received.recv().map_err(RecvTimeoutError::from),
        }
    }
}

const WAITING: usize = 8;
