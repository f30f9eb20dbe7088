//! `/v1/endpoints`: sandboxes that their owners made themselves.

use std::sync::Arc;

use agent_api::{ApiError, EndpointCreate, EndpointDetail};
use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Body, Reply, blocking};
use crate::agent::Agent;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(remove))
}

/// Lists the endpoints of every network.
#[utoipa::path(get, path = "/endpoints", responses((status = 200, body = Vec<EndpointDetail>)))]
async fn list(State(agent): State<Arc<Agent>>) -> Reply<Vec<EndpointDetail>> {
    blocking(agent, |agent| Ok(agent.endpoints()))
        .await
        .map(Json)
}

/// Attaches a network namespace to a network.
#[utoipa::path(post, path = "/endpoints", request_body = EndpointCreate,
    responses((status = 200, body = EndpointDetail), (status = "default", body = ApiError)))]
async fn create(
    State(agent): State<Arc<Agent>>,
    Body(request): Body<EndpointCreate>,
) -> Reply<EndpointDetail> {
    blocking(agent, move |agent| agent.create_endpoint(&request))
        .await
        .map(Json)
}

/// Detaches it. An endpoint that is gone already is no error.
#[utoipa::path(delete, path = "/endpoints/{id}", params(("id" = String, Path)),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn remove(State(agent): State<Arc<Agent>>, Path(id): Path<String>) -> Reply<()> {
    blocking(agent, move |agent| agent.remove_endpoint(&id))
        .await
        .map(Json)
}
