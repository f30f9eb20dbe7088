//! Following changes.

use std::sync::{Arc, OnceLock};

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
    events: Receiver<Told>,
}

/// A change on its way to whoever follows. All of them have it in common, and its JSON, which is made for the first one that needs it.
#[derive(Clone, Debug)]
pub(crate) struct Told(Arc<Words>);

#[derive(Debug)]
struct Words {
    event: WatchEvent,
    json: OnceLock<String>,
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

impl From<WatchEvent> for Told {
    fn from(event: WatchEvent) -> Self {
        let json = OnceLock::new();
        Self(Arc::new(Words { event, json }))
    }
}

impl Told {
    pub(crate) fn json(&self) -> &str {
        let Words { event, json } = &*self.0;
        // Nothing of an event is no JSON: its keys are strings, and its value was JSON before.
        json.get_or_init(|| serde_json::to_string(event).unwrap_or_default())
    }

    fn event(&self) -> &WatchEvent {
        &self.0.event
    }

    fn into_event(self) -> WatchEvent {
        match Arc::try_unwrap(self.0) {
            Ok(words) => words.event,
            Err(shared) => shared.event.clone(),
        }
    }
}

impl Watch {
    pub(crate) fn new(prefix: &str, events: Receiver<Told>) -> Self {
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
        self.next_told().await.map(Told::into_event)
    }

    /// The same, to be sent on.
    pub(crate) async fn next_told(&mut self) -> Option<Told> {
        loop {
            match self.events.recv().await {
                Ok(told) if self.is_followed(told.event()) => return Some(told),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Some(WatchEvent::Lagged.into()),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// A change that happened already; None when there is none.
    pub fn try_next(&mut self) -> Option<WatchEvent> {
        loop {
            match self.events.try_recv() {
                Ok(told) if self.is_followed(told.event()) => return Some(told.into_event()),
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
