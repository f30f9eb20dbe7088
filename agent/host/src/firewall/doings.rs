//! What is ours among the changes of the packet filter, and that there were others.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Shared by a [`Firewall`](super::Firewall) and its watch.
#[derive(Debug, Default)]
pub(super) struct Doings {
    /// The processes that made our last transactions, newest last.
    own: Mutex<VecDeque<u32>>,
    disturbances: AtomicU64,
    is_watched: AtomicBool,
}

impl Doings {
    /// A process is about to change the filter for us.
    pub(super) fn remember(&self, process: u32) {
        let mut own = self.own.lock();
        if own.len() == REMEMBERED {
            own.pop_front();
        }
        own.push_back(process);
    }

    pub(super) fn is_own(&self, process: u32) -> bool {
        self.own.lock().contains(&process)
    }

    /// Somebody else changed what concerns us.
    pub(super) fn note_disturbance(&self) {
        self.disturbances.fetch_add(1, Ordering::Release);
    }

    /// A watch begins or ends.
    pub(super) fn set_watched(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Ordering::Release);
    }

    /// Whether what somebody else does is noted.
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Acquire)
    }

    /// How often somebody else did.
    pub(super) fn disturbances(&self) -> u64 {
        self.disturbances.load(Ordering::Acquire)
    }
}

const REMEMBERED: usize = 32;
