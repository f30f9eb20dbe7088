//! `/v1/networks/{name}/acl`: which frames may pass between whom.

use std::sync::Arc;

use agent_api::{AclAdd, AclDefault, AclView, ApiError};
use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Body, Reply, blocking};
use crate::agent::Agent;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(acl, add_rule))
        .routes(routes!(remove_rule))
        .routes(routes!(set_default))
}

/// The network's access list, in the order in which its rules are asked, with what they counted.
#[utoipa::path(get, path = "/networks/{name}/acl", params(("name" = String, Path)),
    responses((status = 200, body = AclView), (status = "default", body = ApiError)))]
async fn acl(State(agent): State<Arc<Agent>>, Path(name): Path<String>) -> Reply<AclView> {
    blocking(agent, move |agent| agent.networks.acl(&name))
        .await
        .map(Json)
}

/// Adds a rule, in force when this returns, and gives its priority.
#[utoipa::path(post, path = "/networks/{name}/acl", params(("name" = String, Path)), request_body = AclAdd,
    responses((status = 200, body = u32, content_type = "application/json"), (status = "default", body = ApiError)))]
async fn add_rule(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(add): Body<AclAdd>,
) -> Reply<u32> {
    blocking(agent, move |agent| agent.networks.add_rule(&name, &add))
        .await
        .map(Json)
}

/// Removes the rule of that priority.
#[utoipa::path(delete, path = "/networks/{name}/acl/{priority}",
    params(("name" = String, Path), ("priority" = u32, Path)),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn remove_rule(
    State(agent): State<Arc<Agent>>,
    Path((name, priority)): Path<(String, u32)>,
) -> Reply<()> {
    blocking(agent, move |agent| {
        agent.networks.remove_rule(&name, priority)
    })
    .await
    .map(Json)
}

/// Says what becomes of frames that no rule means.
#[utoipa::path(post, path = "/networks/{name}/acl/default", params(("name" = String, Path)), request_body = AclDefault,
    responses((status = 200), (status = "default", body = ApiError)))]
async fn set_default(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(default): Body<AclDefault>,
) -> Reply<()> {
    blocking(agent, move |agent| {
        agent.networks.set_acl_default(&name, default.action)
    })
    .await
    .map(Json)
}
