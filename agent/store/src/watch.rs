//! Following changes.

use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};

use crate::Entry;

/// Changes under one prefix, in the order they happened.
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    events: Receiver<WatchEvent>,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    Put(Entry),
    Deleted {
        key: String,
        revision: u64,
    },
    /// Changes were missed, because more than the bound happened unread: list again.
    Lagged,
}

impl Watch {
    pub(crate) fn new(prefix: &str, events: Receiver<WatchEvent>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            events,
        }
    }

    /// The next change; None when the store is closed.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            match self.events.recv().await {
                Ok(event) if event.is_under(&self.prefix) => return Some(event),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Some(WatchEvent::Lagged),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// A change that happened already; None when there is none.
    pub fn try_next(&mut self) -> Option<WatchEvent> {
        loop {
            match self.events.try_recv() {
                Ok(event) if event.is_under(&self.prefix) => return Some(event),
                Ok(_) => {}
                Err(TryRecvError::Lagged(_)) => return Some(WatchEvent::Lagged),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }
}

impl WatchEvent {
    fn is_under(&self, prefix: &str) -> bool {
        match self {
            Self::Put(Entry { key, .. }) | Self::Deleted { key, .. } => key.starts_with(prefix),
            Self::Lagged => true,
        }
    }
}

/// Changes kept for a watcher that is behind.
pub(crate) const WATCH_BOUND: usize = 1024;
