//! How it becomes known that a worker has ended although nobody stopped it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Where the end of a worker is told.
#[derive(Clone, Debug)]
pub(crate) struct Ends(SyncSender<Option<End>>);

/// The end of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) worker: usize,
    /// How many had its place before it.
    pub(crate) life: u32,
}

/// Who waits for ends.
#[derive(Debug)]
pub(crate) struct Vigil {
    ends: Ends,
    told: Receiver<Option<End>>,
}

impl Ends {
    pub(crate) fn tell(&self, worker: usize, life: u32) {
        // Fails when the switch is going.
        let _ = self.0.send(Some(End { worker, life }));
    }

    /// Nobody waits any more.
    pub(crate) fn stop(&self) {
        let _ = self.0.send(None);
    }
}

impl Vigil {
    pub(crate) fn new() -> Self {
        let (sender, told) = sync_channel(WAITING);
        Self {
            ends: Ends(sender),
            told,
        }
    }

    pub(crate) fn ends(&self) -> Ends {
        self.ends.clone()
    }

    /// Waits for the next end; `None`: for no more.
    pub(crate) fn next(&self) -> Option<End> {
        self.told.recv().ok().flatten()
    }
}

/// More than there are workers, each of which ends once.
const WAITING: usize = 1024;
