//! Events: what happens on this host, for whoever reads of it.
//!
//! # Theory of operation
//!
//! One [`Events`] for all owners, in the ground below them. Who tells something is through when it is in the ring ([`agent_core::events`]):
//! no reader is waited for. A reader is a task with a cursor. It sends what its client takes; meanwhile the ring goes on, and a client
//! that is too slow loses the oldest and hears how many. What only counters show, somebody looks for every few seconds (`networks/notices.rs`).
//! Events are on no record, and end with the agent.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_api::{ApiError, ErrorKind, Event, EventQuery};
use agent_core::events::{Cursor, Filter, Notice, Ring};
use axum::body::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::sleep;

use crate::locks::lock;

/// See the module's theory of operation.
pub(crate) struct Events {
    ring: Mutex<Ring>,
    news: watch::Sender<News>,
    places: Arc<Semaphore>,
}

#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// How many were told so far.
    told: u64,
    /// The agent acts no more.
    closes: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            ring: Mutex::new(Ring::new(EVENTS_KEPT)),
            news: watch::Sender::new(News::default()),
            places: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }
}

impl Events {
    /// Something happened, just now. Waits for nobody.
    pub(crate) fn tell(&self, notice: Notice) {
        let mut ring = lock(&self.ring);
        // Under the lock, so that times do not run backwards in the ring.
        ring.push(notice.told(now_ms()));
        drop(ring);
        self.news.send_modify(|news| news.told += 1);
    }

    /// What is wanted of it, a line each, from now on or from then on.
    pub(crate) fn read(
        self: &Arc<Self>,
        query: &EventQuery,
        runtime: &Handle,
    ) -> Result<mpsc::Receiver<Bytes>, ApiError> {
        let filter = Filter::new(&query.filters);
        let filter = filter.map_err(|bad| ApiError::new(ErrorKind::Invalid, bad.to_string()))?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| {
            let why = format!(
                "{READERS_MAX} clients read events already; try again when one of them is done"
            );
            ApiError::new(ErrorKind::Exhausted, why)
        })?;
        let news = self.news.subscribe();
        let ring = lock(&self.ring);
        let cursor = query.since_ms.map_or(ring.end(), |at_ms| ring.since(at_ms));
        drop(ring);
        let (out, lines) = mpsc::channel(LINES_BUFFERED);
        let reader = Reader {
            events: Arc::clone(self),
            news,
            filter,
            until_ms: query.until_ms,
            cursor,
            missed: 0,
            out,
            _place: place,
        };
        runtime.spawn(reader.run());
        Ok(lines)
    }

    /// Ends all readers, who have read what was told before.
    pub(crate) fn close(&self) {
        self.news.send_modify(|news| news.closes = true);
    }

    /// Lets readers begin again.
    pub(crate) fn open(&self) {
        self.news.send_modify(|news| news.closes = false);
    }
}

/// One client, and how far it is.
struct Reader {
    events: Arc<Events>,
    news: watch::Receiver<News>,
    filter: Filter,
    until_ms: Option<u64>,
    cursor: Cursor,
    /// Not told yet.
    missed: u64,
    out: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// Until its time is over, its client hangs up, or the agent ends.
    async fn run(mut self) {
        loop {
            let closes = self.news.borrow_and_update().closes;
            if self.send().await.is_none() || closes {
                return;
            }
            let left = self.until_ms.map(|until| until.saturating_sub(now_ms()));
            if left == Some(0) {
                return;
            }
            tokio::select! {
                () = self.out.closed() => return,
                () = over(left) => {}
                changed = self.news.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// All that there is; `None` where nobody reads any more, or where it is beyond what was asked for.
    async fn send(&mut self) -> Option<()> {
        loop {
            let batch = lock(&self.events.ring).read(&mut self.cursor, BATCH);
            self.missed += batch.missed;
            if batch.events.is_empty() {
                return Some(());
            }
            for event in &batch.events {
                if self.until_ms.is_some_and(|until| event.at_ms > until) {
                    return None;
                }
                if self.filter.accepts(event) {
                    let line = line(event, std::mem::take(&mut self.missed));
                    self.out.send(line).await.ok()?;
                }
            }
        }
    }
}

async fn over(left_ms: Option<u64>) {
    match left_ms {
        Some(ms) => sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}

fn line(event: &Event, missed: u64) -> Bytes {
    let event = Event {
        missed,
        ..event.clone()
    };
    let mut line = serde_json::to_vec(&event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A few MiB at most: what an event says is bounded.
const EVENTS_KEPT: usize = 4096;
const READERS_MAX: usize = 64;
const BATCH: usize = 64;
const LINES_BUFFERED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(action: &'static str) -> Notice {
        Notice::daemon(action)
    }

    async fn next(lines: &mut mpsc::Receiver<Bytes>) -> Option<(String, u64)> {
        let line = lines.recv().await?;
        let event: Event = serde_json::from_slice(&line).unwrap();
        Some((event.action, event.missed))
    }

    fn query(since_ms: Option<u64>, until_ms: Option<u64>) -> EventQuery {
        EventQuery {
            since_ms,
            until_ms,
            ..EventQuery::default()
        }
    }

    #[tokio::test]
    async fn a_reader_gets_what_was_and_what_comes_and_ends_with_the_agent() {
        let events = Arc::new(Events::default());
        events.tell(notice("start"));
        let handle = Handle::current();
        let mut all = events.read(&query(Some(0), None), &handle).unwrap();
        let mut new = events.read(&query(None, None), &handle).unwrap();
        events.tell(notice("reload"));
        assert_eq!(next(&mut all).await.unwrap().0, "start");
        assert_eq!(next(&mut all).await.unwrap().0, "reload");
        assert_eq!(next(&mut new).await.unwrap().0, "reload");
        events.tell(notice("repair"));
        events.close();
        assert_eq!(next(&mut new).await.unwrap().0, "repair");
        assert_eq!(next(&mut new).await, None);
    }

    #[tokio::test]
    async fn a_reader_of_the_past_ends_at_once() {
        let events = Arc::new(Events::default());
        events.tell(notice("start"));
        let past = query(Some(0), Some(now_ms()));
        let mut lines = events.read(&past, &Handle::current()).unwrap();
        assert_eq!(next(&mut lines).await.unwrap().0, "start");
        assert_eq!(next(&mut lines).await, None);
    }

    #[tokio::test]
    async fn who_does_not_read_holds_nobody_up_and_hears_what_it_lost() {
        let events = Arc::new(Events::default());
        let mut lines = events.read(&query(None, None), &Handle::current()).unwrap();
        let told = 3 * u64::try_from(EVENTS_KEPT).unwrap();
        for _ in 0..told {
            events.tell(notice("repair"));
        }
        tokio::task::yield_now().await;
        events.close();
        let (mut read, mut missed) = (0, 0);
        while let Some((_, lost)) = next(&mut lines).await {
            read += 1;
            missed += lost;
        }
        assert_eq!(read + missed, told);
        assert!(missed > told / 2, "{missed}");
    }

    #[tokio::test]
    async fn places_are_given_back_when_clients_hang_up() {
        let events = Arc::new(Events::default());
        let handle = Handle::current();
        let read = || events.read(&query(None, None), &handle);
        let readers: Vec<_> = (0..READERS_MAX).map(|_| read().unwrap()).collect();
        let refused = read().unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Exhausted);
        drop(readers);
        while events.places.available_permits() < READERS_MAX {
            tokio::task::yield_now().await;
        }
        read().unwrap();
    }
}
