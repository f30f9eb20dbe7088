//! The REST API on the agent's unix socket: one file per noun, each handler a call into the agent.

mod acl;
mod captures;
mod cluster;
mod connections;
mod containers;
mod document;
mod endpoints;
mod events;
mod links;
mod metrics;
mod networks;
mod peer;
mod rates;
mod reply;
mod system;
mod waiters;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use connections::serve;
pub(crate) use peer::Peer;
pub(crate) use waiters::BLOCKING_THREADS_MAX;

use crate::agent::Agent;

/// Every route below `/v1`, and the document that describes them at `/v1/openapi.json`.
pub(crate) fn router(agent: Arc<Agent>) -> Router {
    let (router, mut document) = OpenApiRouter::with_openapi(ApiDocument::openapi())
        .nest(
            "/v1",
            networks::routes()
                .merge(acl::routes())
                .merge(endpoints::routes())
                .merge(links::routes())
                .merge(rates::routes())
                .merge(containers::routes())
                .merge(captures::routes())
                .merge(cluster::routes())
                .merge(events::routes())
                .merge(system::routes()),
        )
        .split_for_parts();
    document::complete(&mut document);
    metrics::serve_metrics(system::serve_document(router, document))
        .fallback(reply::no_such_route)
        .layer(from_fn_with_state(agent.clone(), peer::refuse_containers))
        .layer(from_fn(reply::in_one_shape))
        .layer(Extension(waiters::Waiters::default()))
        .layer(DefaultBodyLimit::max(reply::BODY_LEN_MAX))
        .with_state(agent)
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Tapestry agent",
    description = "Networks, endpoints and containers of one host. Served on a unix socket; failures are ApiError bodies."
))]
struct ApiDocument;
