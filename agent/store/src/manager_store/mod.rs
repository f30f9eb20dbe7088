//! The store of a cluster's members: a manager has it, and says what a member may do with it.
//!
//! # Theory of operation
//!
//! One thread with a runtime of its own carries one connection to one manager ([`link`]). Calls come from other threads and wait,
//! at most [`CALL_LIMIT`]. The far end is [`serve`] over any store, so that a manager answers with what etcd has.
//!
//! When the connection breaks, its far end is silent, or the far end says that it does not reach the store itself, another manager is
//! dialed at once. Calls that change nothing by being
//! made twice are made again there. A transaction is not: it may have happened, and fails as unreachable. Watches begin
//! again, and tell their watchers that they may have missed something ([`WatchEvent::Lagged`](crate::WatchEvent::Lagged)).

mod link;
mod serve;
pub mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};

use self::link::{Link, Order};
pub use self::serve::serve;
use self::wire::{Answer, Call};
use crate::watch::{WATCH_BOUND, Watch};
use crate::{Change, Entry, LeaseId, Store, StoreError};

/// Finds managers.
pub trait Dial: Send + Sync + 'static {
    /// A connection to a manager who serves the store: every manager is tried, from the one on whose turn it is. The error
    /// says why none of them answers.
    fn dial(&self) -> Dialing<'_>;

    /// Whether the manager that was dialed last, which answers and does not reach the store, is to be left for another one.
    fn leaves(&self) -> bool;

    /// Who is dialed, for people.
    fn far_end(&self) -> String;
}

/// A connection that is being made.
pub type Dialing<'a> =
    Pin<Box<dyn Future<Output = Result<Box<dyn Connection>, String>> + Send + 'a>>;

/// Both directions of a connection.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A connection to whichever manager answers, that mends itself.
pub struct ManagerStore {
    orders: mpsc::UnboundedSender<Order>,
    runtime: Handle,
    dial: Arc<dyn Dial>,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl ManagerStore {
    /// Begins to dial. Whether a manager answers shows with the first call. Fails where there is no thread for it.
    pub fn new(dial: Arc<dyn Dial>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        // Bounded by the callers, each of whom waits for its own.
        let (orders, received) = mpsc::unbounded_channel();
        let link = Link::new(Arc::clone(&dial), received);
        std::thread::Builder::new()
            .name("managers".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = link.run() => {}
                        // Either way the store is gone.
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            orders,
            runtime: handle,
            dial,
            _stop: stop,
        })
    }

    /// Gives the present connection up, where it leads nowhere or shows an old certificate, and dials again.
    pub fn start_over(&self) {
        // Without the thread there is no connection.
        let _ = self.orders.send(Order::StartOver);
    }

    fn call(&self, call: Call) -> Result<Answer, StoreError> {
        let (answer, wait) = oneshot::channel();
        let _ = self.orders.send(Order::Call { call, answer });
        let waiting = async { tokio::time::timeout(CALL_LIMIT, wait).await };
        match self.runtime.block_on(waiting) {
            Ok(Ok(Answer::Failed(failure))) => Err(failure.into_error(&self.dial.far_end())),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.unreachable("the connection ended".to_owned())),
            Err(_) => Err(self.unreachable(format!("no answer within {} s", CALL_LIMIT.as_secs()))),
        }
    }

    fn unreachable(&self, reason: String) -> StoreError {
        StoreError::Unreachable {
            endpoints: self.dial.far_end(),
            reason,
        }
    }

    fn odd(&self, answer: &Answer) -> StoreError {
        tracing::debug!(?answer, "not an answer to what was asked");
        self.unreachable("it answered something else".to_owned())
    }
}

impl Store for ManagerStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        match self.call(Call::Get(key.to_owned()))? {
            Answer::Entry(entry) => Ok(entry),
            other => Err(self.odd(&other)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        match self.call(Call::List(prefix.to_owned()))? {
            Answer::Entries(entries) => Ok(entries),
            other => Err(self.odd(&other)),
        }
    }

    fn transact(&self, changes: &[Change]) -> Result<u64, StoreError> {
        match self.call(Call::Transact(changes.to_vec()))? {
            Answer::Revision(revision) => Ok(revision),
            other => Err(self.odd(&other)),
        }
    }

    fn watch(&self, prefix: &str) -> Watch {
        let (events, receiver) = broadcast::channel(WATCH_BOUND);
        let (started, wait) = oneshot::channel();
        let _ = self.orders.send(Order::Watch {
            prefix: prefix.to_owned(),
            events,
            started,
        });
        // Without a manager it starts later, and says then that something was missed.
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(CALL_LIMIT, wait).await });
        Watch::new(prefix, receiver)
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        match self.call(Call::Grant(millis))? {
            Answer::Lease(lease) => Ok(lease),
            other => Err(self.odd(&other)),
        }
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.call(Call::KeepAlive(lease)).map(drop)
    }

    fn end_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.call(Call::EndLease(lease)).map(drop)
    }
}

/// A manager has answered, or none is there.
const CALL_LIMIT: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests;
