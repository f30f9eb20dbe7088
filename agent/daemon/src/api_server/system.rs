//! `/v1/version`, `/v1/info` and the API's own description.

use std::sync::Arc;

use agent_api::{Info, Version};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::agent::Agent;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(version))
        .routes(routes!(info))
}

pub(super) fn serve_document(
    router: Router<Arc<Agent>>,
    document: utoipa::openapi::OpenApi,
) -> Router<Arc<Agent>> {
    router.route(
        "/v1/openapi.json",
        get(move || std::future::ready(Json(document.clone()))),
    )
}

/// The agent's version.
#[utoipa::path(get, path = "/version", responses((status = 200, body = Version)))]
async fn version() -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// What the agent runs on.
#[utoipa::path(get, path = "/info", responses((status = 200, body = Info)))]
async fn info(State(agent): State<Arc<Agent>>) -> Json<Info> {
    Json(agent.info())
}
