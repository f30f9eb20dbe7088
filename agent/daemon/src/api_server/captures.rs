//! `/v1/networks/{name}/capture` and `/v1/containers/{name}/capture`.

use std::sync::Arc;

use agent_api::{ApiError, BpfProgram};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Refusal, blocking, chunks_of};
use crate::agent::Agent;
use crate::captures::Wishes;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(network))
        .routes(routes!(container))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NetworkQuery {
    /// One port only: its number, who is behind it, or both of owner and link, as in `web:eth0`.
    port: Option<String>,
    /// Bytes that are kept of each frame, 14 to 262144; all where absent.
    snaplen: Option<u32>,
    /// What the program was compiled from, for the capture to say.
    filter: Option<String>,
    /// A program of classic BPF that says which frames are wanted: sixteen hexadecimal digits an instruction, its code, jt, jf and k.
    #[param(value_type = Option<String>)]
    program: Option<BpfProgram>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContainerQuery {
    /// One of its links only, as in `eth0`.
    interface: Option<String>,
    /// Bytes that are kept of each frame, 14 to 262144; all where absent.
    snaplen: Option<u32>,
    /// What the program was compiled from, for the capture to say.
    filter: Option<String>,
    /// A program of classic BPF that says which frames are wanted: sixteen hexadecimal digits an instruction, its code, jt, jf and k.
    #[param(value_type = Option<String>)]
    program: Option<BpfProgram>,
}

/// Captures the frames of a network's ports, as pcapng, until the client hangs up.
#[utoipa::path(get, path = "/networks/{name}/capture", params(("name" = String, Path), NetworkQuery),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-pcapng"), (status = "default", body = ApiError)))]
async fn network(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Query(query): Query<NetworkQuery>,
) -> Result<Response, Refusal> {
    let port = given(query.port);
    let wishes = Wishes {
        snap_len: query.snaplen,
        filter: query.filter.unwrap_or_default(),
        program: query.program.unwrap_or_default(),
    };
    let chunks = blocking(agent, move |agent| {
        agent.captures.of_network(&name, port, wishes)
    });
    Ok(chunks_of(PCAPNG, chunks.await?))
}

/// Captures the frames of a container's links, as pcapng, until the client hangs up.
#[utoipa::path(get, path = "/containers/{name}/capture", params(("name" = String, Path), ContainerQuery),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-pcapng"), (status = "default", body = ApiError)))]
async fn container(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Query(query): Query<ContainerQuery>,
) -> Result<Response, Refusal> {
    let link = given(query.interface);
    let wishes = Wishes {
        snap_len: query.snaplen,
        filter: query.filter.unwrap_or_default(),
        program: query.program.unwrap_or_default(),
    };
    let chunks = blocking(agent, move |agent| {
        agent.captures.of_container(&name, link, wishes)
    });
    Ok(chunks_of(PCAPNG, chunks.await?))
}

fn given(word: Option<String>) -> Option<String> {
    word.filter(|word| !word.is_empty())
}

const PCAPNG: &str = "application/x-pcapng";
