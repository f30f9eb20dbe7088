//! Who is at the other end of the socket.
//!
//! A container on the host's files finds the agent's socket there, and who may ask the agent may do all that the agent
//! can. Covering the file would not last: a restarted agent makes a new one. So it is the process that counts, as the
//! kernel names it (SO_PEERCRED in unix(7)).

use std::sync::Arc;

use agent_api::{ApiError, ErrorKind};
use agent_container::PidNamespace;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::net::UnixStream;

use super::reply::blocking;
use crate::agent::Agent;

/// The process that connected.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// In these PID namespaces below the agent's.
    Within(Vec<PidNamespace>),
    /// It ended, or cannot be looked at.
    Unknown,
}

impl Peer {
    pub(super) fn of_stream(stream: &UnixStream) -> Self {
        Self::of(stream.peer_cred().ok().and_then(|peer| peer.pid()))
    }

    /// Of the process id that the kernel names. It is looked at now: later it may be another's.
    pub(crate) fn of(pid: Option<i32>) -> Self {
        match pid {
            None => Self::Unknown,
            // A process that is not below us: the agent is in a container, and this one asks from outside of it.
            Some(0) => Self::Within(Vec::new()),
            Some(pid) => PidNamespace::around(pid).map_or(Self::Unknown, Self::Within),
        }
    }

    /// Whether it may ask the agent.
    pub(crate) fn check(&self, agent: &Agent) -> Result<(), ApiError> {
        match self {
            Self::Within(namespaces) => match agent.containers.confined_in(namespaces) {
                Some(container) => Err(forbidden(format!(
                    "the agent does not serve its own container {container:?}; --privileged ones it does"
                ))),
                None => Ok(()),
            },
            Self::Unknown => Err(forbidden(
                "the process that connected is gone; the one that connects has to stay".to_owned(),
            )),
        }
    }

    /// Whether it is nobody's container for certain.
    fn is_of_host(&self) -> bool {
        matches!(self, Self::Within(namespaces) if namespaces.is_empty())
    }
}

pub(super) async fn refuse_containers(
    State(agent): State<Arc<Agent>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.is_of_host() {
        return next.run(request).await;
    }
    match blocking(agent, move |agent| peer.check(agent)).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn forbidden(message: String) -> ApiError {
    ApiError::new(ErrorKind::Forbidden, message)
}
