//! The endpoints of one etcd, and which of them is asked.
//!
//! # Theory of operation
//!
//! Every endpoint has a client of its own, and one of them is asked. Where that one cannot be reached, or is about to elect a
//! leader, the next one is asked from then on. A call that may have been carried out already is not made again, unless that does
//! no harm.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, Error};

/// The clients, the one that is asked first.
pub(super) struct Endpoints {
    clients: Mutex<Clients>,
}

struct Clients {
    order: VecDeque<Client>,
    /// Changes with the order, so that of two calls that fail at once one changes it.
    turn: u64,
}

/// Whether a call may be made again of which nobody knows whether it was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    Harmless,
    Never,
}

/// What a failure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// etcd has answered.
    Answer,
    /// This endpoint has not even been asked.
    NotAsked,
    /// There is no leader just now, so nothing was done.
    NoLeader,
    /// The connection ended, or etcd's patience did.
    Unknown,
}

impl Endpoints {
    pub(super) fn new(clients: Vec<Client>) -> Self {
        let order = clients.into();
        Self {
            clients: Mutex::new(Clients { order, turn: 0 }),
        }
    }

    /// Other ones from now on.
    pub(super) fn replace(&self, clients: Vec<Client>) {
        let mut now = self.lock();
        now.order = clients.into();
        now.turn += 1;
    }

    /// Asks one endpoint after another, until one of them has answered or none can be reached. Whoever calls has a limit.
    pub(super) async fn ask<T>(
        &self,
        repeat: Repeat,
        work: impl AsyncFn(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut left = self.lock().order.len();
        let mut is_one_there = false;
        loop {
            let Some((turn, mut client)) = self.current() else {
                return Err(Error::InvalidArgs("no endpoint".to_owned()));
            };
            let error = match work(&mut client).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let failure = failure(&error);
            if failure == Failure::Answer {
                return Err(error);
            }
            if failure == Failure::Unknown && repeat == Repeat::Never {
                return Err(error);
            }
            self.pass_over(turn);
            is_one_there |= failure != Failure::NotAsked;
            left = left.saturating_sub(1);
            if left == 0 {
                if !is_one_there {
                    return Err(error);
                }
                (left, is_one_there) = (self.lock().order.len(), false);
                tokio::time::sleep(ELECTION_PAUSE).await;
            }
        }
    }

    /// The client that is to be asked, and what [`Self::pass_over`] wants to know where it is of no use.
    pub(super) fn current(&self) -> Option<(u64, Client)> {
        let clients = self.lock();
        Some((clients.turn, clients.order.front()?.clone()))
    }

    /// Another endpoint is asked from now on, unless that was decided meanwhile.
    pub(super) fn pass_over(&self, turn: u64) {
        let mut clients = self.lock();
        if clients.turn == turn {
            clients.turn += 1;
            let last = clients.order.pop_front();
            clients.order.extend(last);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure(error: &Error) -> Failure {
    let is = |words: &[&str], text: &str| words.iter().any(|word| text.contains(word));
    match error {
        Error::LeaseKeepAliveError(_) | Error::InvalidArgs(_) => Failure::Answer,
        Error::GRpcStatus(status) if is(&NO_LEADER, status.message()) => Failure::NoLeader,
        Error::GRpcStatus(status) if is(&NOT_HERE, status.message()) => Failure::NotAsked,
        Error::GRpcStatus(status) if is(&UNDECIDED, status.message()) => Failure::Unknown,
        Error::GRpcStatus(status) if status.message().starts_with(ETCD) => Failure::Answer,
        error if was_not_connected(error) => Failure::NotAsked,
        _ => Failure::Unknown,
    }
}

fn was_not_connected(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let kind = inner
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        if kind.is_some_and(|kind| NO_CONNECTION.contains(&kind)) {
            return true;
        }
        cause = inner.source();
    }
    false
}

const NO_CONNECTION: [std::io::ErrorKind; 4] = [
    std::io::ErrorKind::ConnectionRefused,
    std::io::ErrorKind::HostUnreachable,
    std::io::ErrorKind::NetworkUnreachable,
    std::io::ErrorKind::AddrNotAvailable,
];
/// etcd's own words (api/v3rpc/rpctypes/error.go, raft/raft.go).
const ETCD: &str = "etcdserver:";
const NO_LEADER: [&str; 2] = ["etcdserver: no leader", "raft proposal dropped"];
/// The second is hyper's (client/legacy/connect/http.rs), which tonic passes on without its cause.
const NOT_HERE: [&str; 2] = ["not supported for learner", "tcp connect error"];
const UNDECIDED: [&str; 4] = [
    "etcdserver: leader changed",
    "etcdserver: request timed out",
    "etcdserver: server stopped",
    "etcdserver: node is not in",
];
/// An election takes one to two seconds.
const ELECTION_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;

    /// Of endpoints where nobody answers.
    async fn endpoints(count: usize) -> Endpoints {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(Client::connect(["http://127.0.0.1:1"], None).await.unwrap());
        }
        Endpoints::new(clients)
    }

    async fn refused(client: &mut Client) -> Error {
        client.get("k", None).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_was_not_asked_is_asked_of_every_endpoint_once() {
        for count in [1, 3] {
            let (endpoints, calls) = (endpoints(count).await, Cell::new(0));
            let asked = endpoints
                .ask(Repeat::Never, async |client| {
                    calls.set(calls.get() + 1);
                    Err::<(), _>(refused(client).await)
                })
                .await;
            assert!(asked.is_err());
            assert_eq!(calls.get(), count);
        }
    }

    #[tokio::test]
    async fn what_may_have_happened_is_repeated_only_where_that_does_no_harm() {
        for (repeat, expected) in [(Repeat::Never, 1), (Repeat::Harmless, 3)] {
            let (endpoints, calls) = (endpoints(2).await, Cell::new(0));
            let asked = endpoints
                .ask(repeat, async |_| {
                    calls.set(calls.get() + 1);
                    match calls.get() {
                        3 => Ok(()),
                        _ => Err(Error::WatchError("broken".to_owned())),
                    }
                })
                .await;
            assert_eq!(asked.is_ok(), repeat == Repeat::Harmless);
            assert_eq!(calls.get(), expected, "{repeat:?}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_is_passed_over_once_however_many_calls_fail_there() {
        let endpoints = endpoints(3).await;
        let (turn, _) = endpoints.current().unwrap();
        endpoints.pass_over(turn);
        let (next, _) = endpoints.current().unwrap();
        endpoints.pass_over(turn);
        assert_eq!(endpoints.current().unwrap().0, next);
        assert_ne!(turn, next);
    }

    #[tokio::test]
    async fn one_endpoint_that_is_not_there_is_known_at_once() {
        let endpoints = endpoints(1).await;
        let before = Instant::now();
        let error = refused(&mut endpoints.current().unwrap().1).await;
        assert_eq!(failure(&error), Failure::NotAsked, "{error:?}");
        assert!(before.elapsed() < Duration::from_secs(5));
    }
}
