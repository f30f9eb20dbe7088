//! `/metrics`, for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

use crate::agent::Agent;

pub(super) fn serve_metrics(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router.route("/metrics", get(metrics))
}

async fn metrics(State(agent): State<Arc<Agent>>, headers: HeaderMap) -> Response {
    Arc::clone(&agent.metrics).answer(&headers).await
}
