//! `/v1/rates`: what endpoints may get and send.

use std::sync::Arc;

use agent_api::{ApiError, RateDetail, RateUpdate};
use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Body, Reply, blocking};
use crate::agent::Agent;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(list_rates))
        .routes(routes!(inspect_rate, update_rate))
}

/// Lists the rates of all endpoints, and what frames met of them.
#[utoipa::path(get, path = "/rates", responses((status = 200, body = Vec<RateDetail>)))]
async fn list_rates(State(agent): State<Arc<Agent>>) -> Reply<Vec<RateDetail>> {
    blocking(agent, |agent| Ok(agent.endpoints.rates()))
        .await
        .map(Json)
}

/// Shows the rates of one endpoint.
#[utoipa::path(get, path = "/endpoints/{id}/rate", params(("id" = String, Path)),
    responses((status = 200, body = RateDetail), (status = "default", body = ApiError)))]
async fn inspect_rate(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Reply<RateDetail> {
    blocking(agent, move |agent| agent.endpoints.rate(&id))
        .await
        .map(Json)
}

/// Changes them, while frames flow. It stays so over restarts of agent and container.
#[utoipa::path(patch, path = "/endpoints/{id}/rate", params(("id" = String, Path)), request_body = RateUpdate,
    responses((status = 200, body = RateDetail), (status = "default", body = ApiError)))]
async fn update_rate(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    Body(update): Body<RateUpdate>,
) -> Reply<RateDetail> {
    blocking(agent, move |agent| agent.update_rate(&id, &update))
        .await
        .map(Json)
}
