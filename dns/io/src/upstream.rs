//! Sends queries to the servers that know the rest of the world.
//!
//! # Theory of operation
//!
//! hickory has a stub resolver, but it follows CNAMEs itself and gives records rather than replies. A forwarder passes
//! on what the server said: the chain as it came, the SOA of a negative answer, the records that DO asked for. So its
//! layers below are used: one name server pool per server for transports, retransmission, TCP after truncation and
//! sharing of equal queries, and its response cache.
//!
//! Within 4.5 seconds there is a reply, if only SERVFAIL. A bounded number of queries is in flight, and each payer has its share
//! of them ([`Places`]). One more is refused at once, so that a dead upstream costs no more than that. Cached answers pass both.
//!
//! Servers are asked as [`ServerSet`] says, and those of a [`ResolvConf`] are replaced when the file changes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dns_core::{Carrier, NoQuery, Request, strip_private};
use hickory_proto::op::{Message, ResponseCode};
use hickory_resolver::net::{DnsError, NetError};
use tracing::info;

use crate::address::ServerAddress;
use crate::cache::negative;
use crate::failure::{Failure, Failures};
use crate::lock::lock;
use crate::places::Places;
use crate::resolv_conf::ResolvConf;
use crate::server_set::ServerSet;

/// What an upstream did, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamCounters {
    /// Messages asked for.
    pub exchanges: u64,
    /// Answered from the cache.
    pub cache_hits: u64,
    /// Answered SERVFAIL, or what the last server said instead of an answer.
    pub failures: u64,
    /// Answered SERVFAIL because too many were in flight.
    pub refused: u64,
    /// Answers that lost addresses of private networks.
    pub blocked: u64,
}

/// A set of upstream servers with their cache. Share it behind an `Arc`; must be used inside a tokio runtime.
#[derive(Debug)]
pub struct Upstream {
    file: Option<ResolvConf>,
    servers: Mutex<Arc<ServerSet>>,
    in_flight: Places,
    counters: Counters,
    failures: Arc<Failures>,
    blocks_private: bool,
}

#[derive(Debug, Default)]
struct Counters {
    exchanges: AtomicU64,
    cache_hits: AtomicU64,
    failures: AtomicU64,
    refused: AtomicU64,
    blocked: AtomicU64,
}

impl Upstream {
    /// Servers from a resolv.conf, read at the first query and again when the file has changed.
    pub fn from_resolv_conf(path: impl Into<PathBuf>) -> Self {
        Self::with(Some(ResolvConf::new(path.into())), Vec::new())
    }

    /// Fixed servers, asked in this order. Empty: every query fails at once.
    pub fn new(servers: &[ServerAddress]) -> Self {
        Self::with(None, servers.to_vec())
    }

    /// Takes addresses of private networks out of what the servers say, against rebinding.
    pub fn blocking_private(self, blocks_private: bool) -> Self {
        Self {
            blocks_private,
            ..self
        }
    }

    fn with(file: Option<ResolvConf>, servers: Vec<ServerAddress>) -> Self {
        let failures = Arc::default();
        Self {
            file,
            servers: Mutex::new(Arc::new(ServerSet::new(servers, &failures))),
            in_flight: Places::new(MAX_IN_FLIGHT),
            counters: Counters::default(),
            failures,
            blocks_private: false,
        }
    }

    /// As [`Self::resolve`], from bytes, for a payer of no number. Empty when `message` is no query at all.
    pub async fn exchange(&self, message: &[u8], carrier: Carrier) -> Vec<u8> {
        match Request::parse(message) {
            Ok(request) => self.resolve(&request, carrier, 0).await,
            Err(NoQuery::Refusal(reply)) => reply,
            Err(NoQuery::Silence) => Vec::new(),
        }
    }

    /// Asks the servers and returns a complete reply under the client's id, fit for `carrier`. Never fails: a query
    /// nobody answers is SERVFAIL within five seconds, and so is one of a `payer` who has too many in flight at once. May
    /// be dropped at any time.
    pub async fn resolve(&self, request: &Request, carrier: Carrier, payer: u64) -> Vec<u8> {
        count(&self.counters.exchanges);
        let set = self.current().await;
        let reply = match set.cache.find(request) {
            Some(reply) => {
                count(&self.counters.cache_hits);
                reply
            }
            None => self.ask(&set, request, payer).await,
        };
        request.encode(reply, carrier)
    }

    /// The reply if it can be given from memory, at once. `None` says to ask with [`Self::resolve`].
    pub fn recall(&self, request: &Request, carrier: Carrier) -> Option<Vec<u8>> {
        if self.file.as_ref().is_some_and(|file| !file.is_fresh()) {
            return None;
        }
        let set = Arc::clone(&lock(&self.servers));
        let reply = set.cache.find(request)?;
        count(&self.counters.exchanges);
        count(&self.counters.cache_hits);
        Some(request.encode(reply, carrier))
    }

    pub fn counters(&self) -> UpstreamCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UpstreamCounters {
            exchanges: load(&self.counters.exchanges),
            cache_hits: load(&self.counters.cache_hits),
            failures: load(&self.counters.failures),
            refused: load(&self.counters.refused),
            blocked: load(&self.counters.blocked),
        }
    }

    /// The latest failures of servers, oldest first.
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.snapshot()
    }

    /// The servers that would be asked now, in their configured order.
    pub async fn servers(&self) -> Vec<ServerAddress> {
        let set = self.current().await;
        let servers = set.servers.iter();
        servers.map(|server| server.address().clone()).collect()
    }

    async fn ask(&self, set: &ServerSet, request: &Request, payer: u64) -> Message {
        let Some(_place) = self.in_flight.take(payer) else {
            count(&self.counters.refused);
            return request.response(ResponseCode::ServFail);
        };
        let said = tokio::time::timeout(TOTAL_TIMEOUT, set.ask(request)).await;
        match said.unwrap_or(Err(ResponseCode::ServFail)) {
            Ok(mut said) => {
                if self.blocks_private
                    && let Ok(message) = &mut said.answer
                    && strip_private(message)
                {
                    count(&self.counters.blocked);
                }
                set.cache.keep(request, &said.answer, said.length);
                reply_of(request, said.answer)
            }
            Err(code) => {
                count(&self.counters.failures);
                request.response(code)
            }
        }
    }

    async fn current(&self) -> Arc<ServerSet> {
        if let Some(file) = &self.file
            && let Some(servers) = file.changed().await
        {
            info!(path = %file.path().display(), ?servers, "upstream servers read");
            let servers = servers.into_iter().map(ServerAddress::from).collect();
            *lock(&self.servers) = Arc::new(ServerSet::new(servers, &self.failures));
        }
        Arc::clone(&lock(&self.servers))
    }
}

fn reply_of(request: &Request, answer: Result<Message, NetError>) -> Message {
    match answer {
        Ok(message) => message,
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => negative(request, &nothing),
        Err(_) => request.response(ResponseCode::ServFail),
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How long all servers together are given.
const TOTAL_TIMEOUT: Duration = Duration::from_millis(4500);
/// Queries waiting for servers at a time; one payer alone may have half of them.
const MAX_IN_FLIGHT: usize = 1024;
