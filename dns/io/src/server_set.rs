//! The servers of an upstream, asked together.
//!
//! # Theory of operation
//!
//! Servers are asked in their configured order. When one has not answered within a second, the next is asked beside it, and
//! the first good answer wins. A server that stayed silent is asked last for ten seconds.

use std::sync::Arc;
use std::time::Duration;

use dns_core::Request;
use hickory_proto::op::ResponseCode;
use tokio::task::JoinSet;

use crate::address::ServerAddress;
use crate::cache::Cache;
use crate::failure::Failures;
use crate::server::{Said, Server, Unhelpful};

/// The servers in use and what they said. Replaced whole, so an answer never outlives the servers it came from.
pub(crate) struct ServerSet {
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) cache: Cache,
    failures: Arc<Failures>,
}

impl ServerSet {
    pub(crate) fn new(servers: Vec<ServerAddress>, failures: &Arc<Failures>) -> Self {
        let server = |address: ServerAddress| {
            let shown = address.to_string();
            Server::new(address)
                .inspect_err(|error| failures.note(shown, error.to_string()))
                .ok()
        };
        Self {
            servers: servers
                .into_iter()
                .filter_map(server)
                .map(Arc::new)
                .collect(),
            cache: Cache::new(),
            failures: Arc::clone(failures),
        }
    }

    /// The first helpful answer, or the code to fail with: what a server said, else SERVFAIL.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Said, ResponseCode> {
        let mut waiting = self.in_order().into_iter().peekable();
        let mut asked = JoinSet::new();
        let mut failure = ResponseCode::ServFail;
        loop {
            let current = waiting.next();
            if let Some(server) = current.clone() {
                let (request, failures) = (request.clone(), Arc::clone(&self.failures));
                asked.spawn(async move {
                    let said = server.ask(&request).await;
                    said.inspect_err(|error| {
                        failures.note(server.address().to_string(), error.to_string());
                    })
                });
            }
            let has_next = waiting.peek().is_some();
            let outcome = tokio::select! {
                outcome = asked.join_next() => outcome,
                () = tokio::time::sleep(PATIENCE), if has_next => {
                    if let Some(server) = current {
                        server.mark_slow();
                    }
                    continue;
                }
            };
            match outcome {
                Some(Ok(Ok(said))) => return Ok(said),
                // Any other code speaks of our own query, not of the client's.
                Some(Ok(Err(Unhelpful::Code(
                    code @ (ResponseCode::Refused | ResponseCode::NotImp),
                )))) => failure = code,
                Some(Ok(Err(Unhelpful::Code(_)))) => {}
                Some(Ok(Err(Unhelpful::Silent(_))) | Err(_)) => {}
                None => return Err(failure),
            }
        }
    }

    fn in_order(&self) -> Vec<Arc<Server>> {
        let mut servers = self.servers.clone();
        servers.sort_by_key(|server| server.is_avoided());
        servers
    }
}

impl std::fmt::Debug for ServerSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.servers).finish()
    }
}

/// How long one server is waited for before the next is asked as well.
const PATIENCE: Duration = Duration::from_secs(1);
