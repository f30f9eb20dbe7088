//! `/v1/cluster`.

use std::sync::Arc;

use agent_api::{
    ApiError, CaRotate, ClusterBackup, ClusterDetail, ClusterHealth, ClusterInit, ClusterJoin,
    ClusterManager, ClusterPoint, ClusterRecovered, ClusterRemove, ClusterRemoved, ClusterRestore,
    ClusterRevoke, ManagersView, Token, TokenCreate,
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
        .routes(routes!(health))
        .routes(routes!(init))
        .routes(routes!(join))
        .routes(routes!(token))
        .routes(routes!(revoke))
        .routes(routes!(promote))
        .routes(routes!(demote))
        .routes(routes!(recover))
        .routes(routes!(rotate_ca))
        .routes(routes!(remove))
        .routes(routes!(back_up))
        .routes(routes!(restore))
        .routes(routes!(point))
}

/// Shows the cluster that this host is in.
#[utoipa::path(get, path = "/cluster", responses((status = 200, body = ClusterDetail), (status = "default", body = ApiError)))]
async fn inspect(State(agent): State<Arc<Agent>>) -> Reply<ClusterDetail> {
    blocking(agent, |agent| agent.sharing.inspect())
        .await
        .map(Json)
}

/// Shows what somebody should look after, and asks the managers whether they answer.
#[utoipa::path(get, path = "/cluster/health",
    responses((status = 200, body = ClusterHealth), (status = "default", body = ApiError)))]
async fn health(State(agent): State<Arc<Agent>>) -> Reply<ClusterHealth> {
    blocking(agent, |agent| Ok(agent.cluster_health()))
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

/// Makes this host the only manager, where the others are lost for good and the store does not answer.
#[utoipa::path(post, path = "/cluster/recover",
    responses((status = 200, body = ClusterRecovered), (status = "default", body = ApiError)))]
async fn recover(State(agent): State<Arc<Agent>>) -> Reply<ClusterRecovered> {
    blocking(agent, |agent| agent.sharing.recover())
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

/// Forgets a host that is dead.
#[utoipa::path(post, path = "/cluster/remove", request_body = ClusterRemove,
    responses((status = 200, body = ClusterRemoved), (status = "default", body = ApiError)))]
async fn remove(
    State(agent): State<Arc<Agent>>,
    Body(request): Body<ClusterRemove>,
) -> Reply<ClusterRemoved> {
    blocking(agent, move |agent| agent.sharing.remove_host(&request))
        .await
        .map(Json)
}

/// All that the cluster needs to begin again, with the CA's key: a secret.
#[utoipa::path(get, path = "/cluster/backup", responses((status = 200, body = ClusterBackup), (status = "default", body = ApiError)))]
async fn back_up(State(agent): State<Arc<Agent>>) -> Reply<ClusterBackup> {
    blocking(agent, |agent| agent.sharing.back_up())
        .await
        .map(Json)
}

/// Makes this host the only manager of the cluster in a backup.
#[utoipa::path(post, path = "/cluster/restore", request_body = ClusterRestore,
    responses((status = 200, body = ClusterDetail), (status = "default", body = ApiError)))]
async fn restore(
    State(agent): State<Arc<Agent>>,
    Body(request): Body<ClusterRestore>,
) -> Reply<ClusterDetail> {
    blocking(agent, move |agent| agent.restore_cluster(request))
        .await
        .map(Json)
}

/// Has this host ask a manager that it does not know of.
#[utoipa::path(post, path = "/cluster/managers", request_body = ClusterPoint,
    responses((status = 200), (status = "default", body = ApiError)))]
async fn point(State(agent): State<Arc<Agent>>, Body(request): Body<ClusterPoint>) -> Reply<()> {
    blocking(agent, move |agent| agent.sharing.point_to(request))
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
