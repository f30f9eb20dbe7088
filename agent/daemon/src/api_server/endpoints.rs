//! `/v1/endpoints`: sandboxes that their owners made themselves.

use std::path::PathBuf;
use std::sync::Arc;

use agent_api::{
    ApiError, EndpointCreate, EndpointDetail, EndpointUpdate, ErrorKind, LabelsUpdate, PortDetail,
    PortSettings,
};
use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Body, Reply, blocking};
use crate::agent::Agent;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(list, create, remove_of_sandbox))
        .routes(routes!(inspect, update, remove))
        .routes(routes!(set_up))
        .routes(routes!(set_down))
        .routes(routes!(inspect_port, update_port))
        .routes(routes!(update_labels))
}

/// Lists the endpoints of every network.
#[utoipa::path(get, path = "/endpoints", responses((status = 200, body = Vec<EndpointDetail>)))]
async fn list(State(agent): State<Arc<Agent>>) -> Reply<Vec<EndpointDetail>> {
    blocking(agent, |agent| Ok(agent.endpoints.list()))
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

/// Whose endpoints.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SandboxQuery {
    /// A path to the namespace; one by which it was attached will do, whether it still leads there or not.
    #[param(value_type = String, required = true)]
    sandbox: Option<PathBuf>,
    /// The network to detach from; all of them where absent.
    network: Option<String>,
}

/// Detaches a sandbox from a network, or from every one. A sandbox that is on none is no error.
#[utoipa::path(delete, path = "/endpoints", params(SandboxQuery),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn remove_of_sandbox(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<SandboxQuery>,
) -> Reply<()> {
    let sandbox = query.sandbox.filter(|path| path.is_absolute());
    let sandbox = sandbox.ok_or_else(|| ApiError::new(ErrorKind::Invalid, NO_SANDBOX))?;
    blocking(agent, move |agent| {
        let owner_of = |namespace| agent.containers.owner_of(namespace);
        let network = query.network.as_deref();
        agent.endpoints.remove_of(&sandbox, network, owner_of)
    })
    .await
    .map(Json)
}

/// Shows one endpoint, after a look at where its link is.
#[utoipa::path(get, path = "/endpoints/{id}", params(("id" = String, Path)),
    responses((status = 200, body = EndpointDetail), (status = "default", body = ApiError)))]
async fn inspect(State(agent): State<Arc<Agent>>, Path(id): Path<String>) -> Reply<EndpointDetail> {
    blocking(agent, move |agent| agent.endpoints.get(&id))
        .await
        .map(Json)
}

/// Changes names or published ports of an endpoint that is no container's.
#[utoipa::path(patch, path = "/endpoints/{id}", params(("id" = String, Path)), request_body = EndpointUpdate,
    responses((status = 200, body = EndpointDetail), (status = "default", body = ApiError)))]
async fn update(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    Body(update): Body<EndpointUpdate>,
) -> Reply<EndpointDetail> {
    blocking(agent, move |agent| agent.endpoints.update(&id, &update))
        .await
        .map(Json)
}

/// Detaches it. An endpoint that is gone already is no error.
#[utoipa::path(delete, path = "/endpoints/{id}", params(("id" = String, Path)),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn remove(State(agent): State<Arc<Agent>>, Path(id): Path<String>) -> Reply<()> {
    blocking(agent, move |agent| agent.endpoints.remove(&id))
        .await
        .map(Json)
}

/// Takes the endpoint's port up.
#[utoipa::path(post, path = "/endpoints/{id}/up", params(("id" = String, Path)),
    responses((status = 200, body = EndpointDetail), (status = "default", body = ApiError)))]
async fn set_up(State(agent): State<Arc<Agent>>, Path(id): Path<String>) -> Reply<EndpointDetail> {
    blocking(agent, move |agent| agent.endpoints.set_up(&id, true))
        .await
        .map(Json)
}

/// Takes the endpoint's port down: its link has no carrier, and the network no such port. It stays so until it is taken up.
#[utoipa::path(post, path = "/endpoints/{id}/down", params(("id" = String, Path)),
    responses((status = 200, body = EndpointDetail), (status = "default", body = ApiError)))]
async fn set_down(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Reply<EndpointDetail> {
    blocking(agent, move |agent| agent.endpoints.set_up(&id, false))
        .await
        .map(Json)
}

/// Shows the endpoint's port, and how the switch treats it.
#[utoipa::path(get, path = "/endpoints/{id}/port", params(("id" = String, Path)),
    responses((status = 200, body = PortDetail), (status = "default", body = ApiError)))]
async fn inspect_port(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
) -> Reply<PortDetail> {
    blocking(agent, move |agent| agent.endpoints.port(&id))
        .await
        .map(Json)
}

/// Changes how the switch treats it, from the next frame on; what is absent stays. It stays so over restarts of agent and
/// container.
#[utoipa::path(patch, path = "/endpoints/{id}/port", params(("id" = String, Path)), request_body = PortSettings,
    responses((status = 200, body = PortDetail), (status = "default", body = ApiError)))]
async fn update_port(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    Body(settings): Body<PortSettings>,
) -> Reply<PortDetail> {
    blocking(agent, move |agent| agent.update_port(&id, &settings))
        .await
        .map(Json)
}

/// Changes the labels by which access lists know it, from the next frame on.
#[utoipa::path(patch, path = "/endpoints/{id}/labels", params(("id" = String, Path)), request_body = LabelsUpdate,
    responses((status = 200, body = EndpointDetail), (status = "default", body = ApiError)))]
async fn update_labels(
    State(agent): State<Arc<Agent>>,
    Path(id): Path<String>,
    Body(update): Body<LabelsUpdate>,
) -> Reply<EndpointDetail> {
    blocking(agent, move |agent| agent.update_labels(&id, &update))
        .await
        .map(Json)
}

const NO_SANDBOX: &str = "sandbox= is missing or no absolute path; write sandbox=/run/netns/NAME, and network=NAME beside it for one network only";
