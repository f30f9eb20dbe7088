//! `/v1/links`: what goes wrong between endpoints and their networks.

use std::sync::Arc;

use agent_api::{ApiError, LinkDetail, LinkUpdate};
use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Body, Reply, blocking};
use crate::agent::Agent;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(inspect_link, update_link))
}

/// Lists the links of all endpoints, with their impairments and what frames met of them.
#[utoipa::path(get, path = "/links", responses((status = 200, body = Vec<LinkDetail>)))]
async fn list(State(agent): State<Arc<Agent>>) -> Reply<Vec<LinkDetail>> {
    blocking(agent, |agent| Ok(agent.endpoints.links()))
        .await
        .map(Json)
}

/// Shows the link of one endpoint.
#[utoipa::path(get, path = "/endpoints/{id}/link", params(("id" = String, Path)),
    responses((status = 200, body = LinkDetail), (status = "default", body = ApiError)))]
async fn inspect_link(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Reply<LinkDetail> {
    blocking(agent, move |agent| agent.endpoints.link(&id))
        .await
        .map(Json)
}

/// Changes what goes wrong at it, while frames flow. It stays so over restarts of agent and container.
#[utoipa::path(patch, path = "/endpoints/{id}/link", params(("id" = String, Path)), request_body = LinkUpdate,
    responses((status = 200, body = LinkDetail), (status = "default", body = ApiError)))]
async fn update_link(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    Body(update): Body<LinkUpdate>,
) -> Reply<LinkDetail> {
    blocking(agent, move |agent| agent.update_link(&id, &update))
        .await
        .map(Json)
}
