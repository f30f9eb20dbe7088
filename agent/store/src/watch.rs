//! Following changes.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};

use crate::Entry;

/// Changes under one prefix, in the order they happened.
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    /// Changes of other keys are passed over.
    shows: fn(&str) -> bool,
    events: Receiver<WatchEvent>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
            shows: |_| true,
            events,
        }
    }

    /// The same without changes of keys that `shows` does not.
    #[must_use]
    pub fn only(self, shows: fn(&str) -> bool) -> Self {
        Self { shows, ..self }
    }

    /// The next change; None when the store is closed.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            match self.events.recv().await {
                Ok(event) if self.is_followed(&event) => return Some(event),
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
                Ok(event) if self.is_followed(&event) => return Some(event),
                Ok(_) => {}
                Err(TryRecvError::Lagged(_)) => return Some(WatchEvent::Lagged),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    fn is_followed(&self, event: &WatchEvent) -> bool {
        match event {
            WatchEvent::Put(Entry { key, .. }) | WatchEvent::Deleted { key, .. } => {
                key.starts_with(&self.prefix) && (self.shows)(key)
            }
            WatchEvent::Lagged => true,
        }
    }
}

/// Changes kept for a watcher that is behind.
pub(crate) const WATCH_BOUND: usize = 1024;
