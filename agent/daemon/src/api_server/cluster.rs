//! `/v1/cluster`.

use std::sync::Arc;

use agent_api::{
    ApiError, CaRotate, ClusterDetail, ClusterInit, ClusterJoin, ClusterManager, ClusterRevoke,
    ManagersView, Token, TokenCreate,
};
use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Body, Reply, blocking};
use crate::agent::Agent;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(inspect, leave))
        .routes(routes!(init))
        .routes(routes!(join))
        .routes(routes!(token))
        .routes(routes!(revoke))
        .routes(routes!(promote))
        .routes(routes!(demote))
        .routes(routes!(rotate_ca))
}

/// Shows the cluster that this host is in.
#[utoipa::path(get, path = "/cluster", responses((status = 200, body = ClusterDetail), (status = "default", body = ApiError)))]
async fn inspect(State(agent): State<Arc<Agent>>) -> Reply<ClusterDetail> {
    blocking(agent, |agent| agent.sharing.inspect())
        .await
        .map(Json)
}

/// Makes a cluster of this host alone.
#[utoipa::path(post, path = "/cluster/init", request_body = ClusterInit,
    responses((status = 200, body = ClusterDetail), (status = "default", body = ApiError)))]
async fn init(
    State(agent): State<Arc<Agent>>,
    Body(request): Body<ClusterInit>,
) -> Reply<ClusterDetail> {
    blocking(agent, move |agent| agent.init_cluster(request))
        .await
        .map(Json)
}

/// Joins a cluster.
#[utoipa::path(post, path = "/cluster/join", request_body = ClusterJoin,
    responses((status = 200, body = ClusterDetail), (status = "default", body = ApiError)))]
async fn join(
    State(agent): State<Arc<Agent>>,
    Body(request): Body<ClusterJoin>,
) -> Reply<ClusterDetail> {
    blocking(agent, move |agent| agent.join_cluster(&request))
        .await
        .map(Json)
}

/// Makes a token that admits one host.
#[utoipa::path(post, path = "/cluster/tokens", request_body = TokenCreate,
    responses((status = 200, body = Token), (status = "default", body = ApiError)))]
async fn token(State(agent): State<Arc<Agent>>, Body(request): Body<TokenCreate>) -> Reply<Token> {
    blocking(agent, move |agent| agent.sharing.create_token(&request))
        .await
        .map(Json)
}

/// Shuts a host out of the cluster.
#[utoipa::path(post, path = "/cluster/revoke", request_body = ClusterRevoke,
    responses((status = 200), (status = "default", body = ApiError)))]
async fn revoke(State(agent): State<Arc<Agent>>, Body(request): Body<ClusterRevoke>) -> Reply<()> {
    blocking(agent, move |agent| agent.sharing.revoke(&request))
        .await
        .map(Json)
}

/// Makes a host a manager.
#[utoipa::path(post, path = "/cluster/promote", request_body = ClusterManager,
    responses((status = 200, body = ManagersView), (status = "default", body = ApiError)))]
async fn promote(
    State(agent): State<Arc<Agent>>,
    Body(request): Body<ClusterManager>,
) -> Reply<ManagersView> {
    blocking(agent, move |agent| agent.sharing.promote(&request))
        .await
        .map(Json)
}

/// Makes a manager a member.
#[utoipa::path(post, path = "/cluster/demote", request_body = ClusterManager,
    responses((status = 200, body = ManagersView), (status = "default", body = ApiError)))]
async fn demote(
    State(agent): State<Arc<Agent>>,
    Body(request): Body<ClusterManager>,
) -> Reply<ManagersView> {
    blocking(agent, move |agent| agent.sharing.demote(&request))
        .await
        .map(Json)
}

/// Puts a new CA in the place of the cluster's.
#[utoipa::path(post, path = "/cluster/ca/rotate", request_body = CaRotate,
    responses((status = 200), (status = "default", body = ApiError)))]
async fn rotate_ca(State(agent): State<Arc<Agent>>, Body(request): Body<CaRotate>) -> Reply<()> {
    blocking(agent, move |agent| agent.sharing.rotate_ca(request))
        .await
        .map(Json)
}

/// Takes this host out of its cluster.
#[utoipa::path(delete, path = "/cluster", responses((status = 200), (status = "default", body = ApiError)))]
async fn leave(State(agent): State<Arc<Agent>>) -> Reply<()> {
    blocking(agent, |agent| agent.follower.leave())
        .await
        .map(Json)
}
