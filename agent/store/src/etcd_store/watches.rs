//! Watches of one etcd.
//!
//! # Theory of operation
//!
//! A prefix is followed by one task with one stream, however many watch it: each of them has a place of its own in what was told.
//! When the stream breaks or was compacted away, the task starts another one after a jittered pause, and tells all watchers that
//! they have missed something ([`WatchEvent::Lagged`]). It ends with its last watcher.
//!
//! Whoever watches waits until the stream is there, or could not be had: what happens from then on is told, or that it was missed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use etcd_client::{Client, Error, EventType, WatchOptions, WatchStream};
use tokio::sync::{broadcast, watch};

use super::{CALL_LIMIT, Pause, Shared, entry, name, revision};
use crate::watch::{Told, WATCH_BOUND, WatchEvent};

/// Those that are followed, by their prefix with the root.
#[derive(Default)]
pub(super) struct Watches(Mutex<HashMap<String, Followed>>);

struct Followed {
    events: broadcast::Sender<Told>,
    stream: watch::Receiver<Stream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// For the first time.
    Opens,
    IsThere,
    IsBroken,
}

/// One who follows.
pub(super) struct Joined {
    pub(super) events: broadcast::Receiver<Told>,
    stream: watch::Receiver<Stream>,
}

/// What a [`Follower`] needs of a prefix that nobody has followed before.
pub(super) struct Opening {
    events: broadcast::Sender<Told>,
    stream: watch::Sender<Stream>,
}

impl Watches {
    /// A place among those who follow a prefix. Whoever is the first has it followed.
    pub(super) fn join(&self, prefix: &str) -> (Joined, Option<Opening>) {
        let mut followed = self.lock();
        if let Some(Followed { events, stream }) = followed.get(prefix) {
            let (events, stream) = (events.subscribe(), stream.clone());
            return (Joined { events, stream }, None);
        }
        let (events, joined) = broadcast::channel(WATCH_BOUND);
        let (state, stream) = watch::channel(Stream::Opens);
        let new = Followed {
            events: events.clone(),
            stream: stream.clone(),
        };
        followed.insert(prefix.to_owned(), new);
        let joined = Joined {
            events: joined,
            stream,
        };
        let stream = state;
        (joined, Some(Opening { events, stream }))
    }

    /// Forgets a prefix, unless somebody follows it again.
    fn leave(&self, prefix: &str) -> bool {
        let mut followed = self.lock();
        let is_left = followed
            .get(prefix)
            .is_none_or(|followed| followed.events.receiver_count() == 0);
        if is_left {
            followed.remove(prefix);
        }
        is_left
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Followed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joined {
    /// Until the stream is there, or is known to be late.
    pub(super) async fn wait(&mut self) {
        let opened = self.stream.wait_for(|stream| *stream != Stream::Opens);
        // Longer than one try takes. Where the task is gone, so is the store.
        let _ = tokio::time::timeout(CALL_LIMIT * 2, opened).await;
    }
}

/// Follows one prefix until nobody watches it.
pub(super) struct Follower {
    shared: Arc<Shared>,
    root: String,
    prefix: String,
    opening: Opening,
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, root: &str, prefix: String, opening: Opening) -> Self {
        Self {
            shared,
            root: root.to_owned(),
            prefix,
            opening,
        }
    }

    pub(super) async fn follow(self) {
        let Opening { events, stream } = &self.opening;
        let mut pause = Pause::default();
        let mut starts = self.shared.starts.subscribe();
        loop {
            let opened = tokio::select! {
                opened = self.open() => opened,
                _ = starts.changed() => None,
            };
            if let Some(mut opened) = opened {
                pause = Pause::default();
                if *stream.borrow() == Stream::IsBroken {
                    // The watchers may be gone.
                    let _ = events.send(WatchEvent::Lagged.into());
                }
                stream.send_replace(Stream::IsThere);
                tokio::select! {
                    () = self.pass_on(&mut opened) => {}
                    _ = starts.changed() => {}
                    () = self.are_gone() => return,
                }
            }
            // What happens from here on is missed.
            stream.send_replace(Stream::IsBroken);
            tokio::select! {
                () = tokio::time::sleep(pause.take()) => {}
                () = self.are_gone() => return,
            }
        }
    }

    /// When nobody watches any more, and the prefix is forgotten.
    async fn are_gone(&self) {
        loop {
            self.opening.events.closed().await;
            if self.shared.watches.leave(&self.prefix) {
                return;
            }
        }
    }

    /// None where the endpoint whose turn it is has none.
    async fn open(&self) -> Option<WatchStream> {
        let (turn, client) = self.shared.endpoints.current()?;
        let opened = tokio::time::timeout(CALL_LIMIT, self.open_at(client)).await;
        let opened = opened.ok().and_then(Result::ok);
        if opened.is_none() {
            self.shared.endpoints.pass_over(turn);
        }
        opened
    }

    async fn open_at(&self, mut client: Client) -> Result<WatchStream, Error> {
        let options = WatchOptions::new().with_prefix();
        let mut stream = client.watch(self.prefix.as_str(), Some(options)).await?;
        match stream.message().await? {
            Some(response) if response.created() && !response.canceled() => Ok(stream),
            _ => Err(Error::WatchError("the watch was refused".to_owned())),
        }
    }

    /// Ends when the stream does.
    async fn pass_on(&self, stream: &mut WatchStream) {
        while let Ok(Some(response)) = stream.message().await {
            if response.canceled() || response.compact_revision() > 0 {
                return;
            }
            for event in response.events() {
                let Some(kv) = event.kv() else { continue };
                let event = match event.event_type() {
                    EventType::Put => match entry(&self.root, kv) {
                        Ok(entry) => WatchEvent::Put(entry),
                        Err(error) => {
                            tracing::warn!(%error, "a value in etcd is passed over");
                            continue;
                        }
                    },
                    EventType::Delete => WatchEvent::Deleted {
                        key: name(&self.root, kv),
                        revision: revision(kv),
                    },
                };
                // The watchers may be gone.
                let _ = self.opening.events.send(event.into());
            }
        }
    }
}
