//! One upstream server.
//!
//! # Theory of operation
//!
//! A plain server is asked over UDP in random case ([`crate::case`]), and over TCP when its answer does not fit. An answer in
//! another case is forged, or comes from a server that does not keep the case. Then TCP decides, which nobody forges from afar.
//! A server that does not keep the case and has no TCP is asked in the client's own case for ten minutes; then random case is
//! tried again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dns_core::Request;
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Edns, Message, ResponseCode};
use hickory_resolver::config::{NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tracing::{debug, info, warn};

use crate::address::ServerAddress;
use crate::case::restore;
use crate::trust;

/// A server, its connections, and whether it has answered lately.
pub(crate) struct Server {
    address: ServerAddress,
    /// Over UDP to a plain server, else over its one transport.
    pool: Pool,
    /// TCP to a plain server.
    tcp: Option<Pool>,
    start: Instant,
    /// Milliseconds after `start` until which names are asked for in the client's own case.
    plain_case_until_ms: AtomicU64,
    /// Milliseconds after `start` until which the server is asked last; 0 while it answers.
    avoided_until_ms: AtomicU64,
}

type Pool = NameServerPool<TokioRuntimeProvider>;

/// What a server said, as hickory presents it, and how long it was on the wire.
#[derive(Debug)]
pub(crate) struct Said {
    /// An answer, or hickory's `NoRecordsFound` for a negative one.
    pub(crate) answer: Result<Message, NetError>,
    pub(crate) length: usize,
}

/// Why another server is asked as well.
#[derive(Debug)]
pub(crate) enum Unhelpful {
    /// It refused or failed; another may know better.
    Code(ResponseCode),
    /// Nothing usable came back in time.
    Silent(String),
}

impl fmt::Display for Unhelpful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "answered {code}"),
            Self::Silent(why) => f.write_str(why),
        }
    }
}

impl Server {
    /// Fails only for encrypted transports, when there is no TLS to be had.
    pub(crate) fn new(address: ServerAddress) -> Result<Self, NetError> {
        let mut options = ResolverOpts::default();
        options.timeout = SERVER_TIMEOUT;
        options.num_concurrent_reqs = 1;
        options.max_active_requests = MAX_ACTIVE;
        let mut tls = TlsConfig::new()?;
        if address.is_encrypted() {
            tls.config = trust::client_config()
                .map_err(|error| NetError::from(format!("no TLS: {error}")))?;
        }
        let context = Arc::new(PoolContext::new(options, tls));
        let provider = TokioRuntimeProvider::default();
        let mut pools = address.connections().into_iter().map(|connection| {
            let config = NameServerConfig::new(address.socket.ip(), true, vec![connection]);
            NameServerPool::from_config([config], Arc::clone(&context), provider.clone())
        });
        let pool = pools.next().ok_or(NetError::NoConnections)?;
        let tcp = pools.next();
        drop(pools);
        Ok(Self {
            address,
            pool,
            tcp,
            plain_case_until_ms: AtomicU64::new(0),
            start: Instant::now(),
            avoided_until_ms: AtomicU64::new(0),
        })
    }

    /// Asks this server alone: over UDP, and over TCP when that was truncated.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Said, Unhelpful> {
        let mut said = self.said(request).await?;
        restore(&mut said.answer, &request.question().name);
        Ok(said)
    }

    async fn said(&self, request: &Request) -> Result<Said, Unhelpful> {
        let answer = tokio::time::timeout(SERVER_TIMEOUT, self.exchange(request));
        match answer.await.unwrap_or(Err(NetError::Timeout)) {
            Ok(response) => {
                self.mark_alive();
                let (message, bytes) = response.into_parts();
                Ok(Said {
                    answer: Ok(message),
                    length: bytes.len(),
                })
            }
            Err(NetError::Dns(DnsError::ResponseCode(code))) => {
                self.mark_alive();
                debug!(server = %self.address, %code, "upstream did not answer the question");
                Err(Unhelpful::Code(code))
            }
            Err(nothing @ NetError::Dns(DnsError::NoRecordsFound(_))) => {
                self.mark_alive();
                Ok(Said {
                    answer: Err(nothing),
                    length: 0,
                })
            }
            Err(error) => {
                self.mark_silent(&error);
                Err(Unhelpful::Silent(self.explained(&error)))
            }
        }
    }

    async fn exchange(&self, request: &Request) -> Result<DnsResponse, NetError> {
        let query = query_of(request);
        let Some(tcp) = &self.tcp else {
            return send(&self.pool, plain(query)).await;
        };
        let keeps_case = self.now_ms() >= self.plain_case_until_ms.load(Ordering::Relaxed);
        let over_udp = match keeps_case {
            true => in_random_case(query.clone()),
            false => plain(query.clone()),
        };
        match send(&self.pool, over_udp).await {
            Err(NetError::Truncated) => send(tcp, plain(query)).await,
            // After an answer in another case the pool turns to other transports, of which it has none.
            Err(NetError::NoConnections) => self.resolve_doubt(tcp, query).await,
            said => said,
        }
    }

    async fn resolve_doubt(&self, tcp: &Pool, query: Message) -> Result<DnsResponse, NetError> {
        let over_tcp = tokio::time::timeout(TCP_TRIAL, send(tcp, plain(query.clone()))).await;
        match over_tcp.unwrap_or(Err(NetError::Timeout)) {
            Err(error) if !matches!(error, NetError::Dns(_)) => {
                warn!(server = %self.address, %error, "upstream does not keep the case of names and has no TCP; its answers are easier to forge");
                let until_ms = self.now_ms() + PLAIN_CASE_MS;
                self.plain_case_until_ms.store(until_ms, Ordering::Relaxed);
                send(&self.pool, plain(query)).await
            }
            said => said,
        }
    }

    pub(crate) fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Whether the server failed to answer a short while ago.
    pub(crate) fn is_avoided(&self) -> bool {
        let until_ms = self.avoided_until_ms.load(Ordering::Relaxed);
        until_ms > 0 && self.now_ms() < until_ms
    }

    /// Asks this server last for a while: another had to be asked because it took so long.
    pub(crate) fn mark_slow(&self) {
        if self.avoid() {
            debug!(server = %self.address, "upstream is slow");
        }
    }

    fn mark_silent(&self, error: &NetError) {
        if self.avoid() {
            warn!(server = %self.address, %error, "upstream does not answer");
        }
    }

    fn mark_alive(&self) {
        if self.avoided_until_ms.swap(0, Ordering::Relaxed) > 0 {
            info!(server = %self.address, "upstream answers again");
        }
    }

    /// hickory keeps the reason to itself when it could not connect.
    fn explained(&self, error: &NetError) -> String {
        match (error, &self.address.name) {
            (NetError::NoConnections, Some(name)) => {
                format!("no connection: it is not there, or its certificate is not for {name}")
            }
            (NetError::NoConnections, None) if self.address.is_encrypted() => {
                "no connection: it is not there, or its certificate is not for its address"
                    .to_owned()
            }
            _ => error.to_string(),
        }
    }

    /// True when the server was in good standing.
    fn avoid(&self) -> bool {
        let until_ms = self.now_ms() + AVOIDED_MS;
        self.avoided_until_ms.swap(until_ms, Ordering::Relaxed) == 0
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.address).finish()
    }
}

async fn send(pool: &Pool, request: DnsRequest) -> Result<DnsResponse, NetError> {
    pool.send(request).first_answer().await
}

fn plain(query: Message) -> DnsRequest {
    DnsRequest::new(query, DnsRequestOptions::default())
}

fn in_random_case(mut query: Message) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.case_randomization = true;
    let original = query.queries.first().cloned();
    for question in &mut query.queries {
        question.name.randomize_label_case();
    }
    DnsRequest::new(query, options).with_original_query(original)
}

/// The client's question under a fresh id, with the bits that change what the answer is.
fn query_of(request: &Request) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = request.recursion_desired();
    query.metadata.checking_disabled = request.checking_disabled();
    query.add_query(request.question().clone());
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD);
    edns.set_dnssec_ok(request.dnssec_ok());
    query.set_edns(edns);
    query
}

/// How long one server is given.
const SERVER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long TCP is given to settle what is wrong with an answer over UDP.
const TCP_TRIAL: Duration = Duration::from_secs(1);
/// How long a server that cannot keep the case of names is asked without, in milliseconds.
const PLAIN_CASE_MS: u64 = 600_000;
/// How long a server that did not answer is asked last, in milliseconds.
const AVOIDED_MS: u64 = 10_000;
/// Largest datagram asked for, in bytes (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;
/// Queries in flight on one connection.
const MAX_ACTIVE: usize = 1024;
