//! `/v1/containers`.

use std::sync::Arc;

use agent_api::{
    ApiError, Attached, ContainerCreate, ContainerDetail, ContainerSummary, Created, Exec, Stop,
};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Body, Refusal, Reply, blocking, held, lines};
use super::waiters::Waiters;
use crate::agent::Agent;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(inspect, remove))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(exec))
        .routes(routes!(logs))
}

/// Lists containers, the exited ones too.
#[utoipa::path(get, path = "/containers", responses((status = 200, body = Vec<ContainerSummary>)))]
async fn list(State(agent): State<Arc<Agent>>) -> Reply<Vec<ContainerSummary>> {
    blocking(agent, |agent| Ok(agent.containers.list()))
        .await
        .map(Json)
}

#[derive(Deserialize, IntoParams)]
struct CreateQuery {
    /// Go on with the answer until the container is started, and remove it when the connection ends before.
    #[serde(default)]
    hold: bool,
}

/// Makes a container: namespaces, links and names are there, the command waits for its start.
#[utoipa::path(post, path = "/containers", params(CreateQuery), request_body = ContainerCreate,
    responses((status = 200, body = Created), (status = "default", body = ApiError)))]
async fn create(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<CreateQuery>,
    Body(request): Body<ContainerCreate>,
) -> Result<Response, Refusal> {
    if !query.hold {
        let created = blocking(agent, move |agent| agent.containers.create(request)).await?;
        return Ok(Json(created).into_response());
    }
    let created = blocking(agent, move |agent| agent.containers.create_held(request));
    let (created, mut hold) = created.await?;
    let over = hold.over();
    held(&created, hold, over)
}

/// Shows one container, by name, id or unique prefix of its id, of at least four digits.
#[utoipa::path(get, path = "/containers/{name}", params(("name" = String, Path)),
    responses((status = 200, body = ContainerDetail), (status = "default", body = ApiError)))]
async fn inspect(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
) -> Reply<ContainerDetail> {
    blocking(agent, move |agent| agent.containers.inspect(&name))
        .await
        .map(Json)
}

#[derive(Deserialize, IntoParams)]
struct RemoveQuery {
    /// Kill the command first where it runs.
    #[serde(default)]
    force: bool,
}

/// Removes a container that has ended, or any with `force`.
#[utoipa::path(delete, path = "/containers/{name}", params(("name" = String, Path), RemoveQuery),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn remove(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Reply<()> {
    blocking(agent, move |agent| {
        agent.containers.remove(&name, query.force)
    })
    .await
    .map(Json)
}

/// Starts the command of a created container.
#[utoipa::path(post, path = "/containers/{name}/start", params(("name" = String, Path)),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn start(State(agent): State<Arc<Agent>>, Path(name): Path<String>) -> Reply<()> {
    blocking(agent, move |agent| agent.containers.start(&name))
        .await
        .map(Json)
}

/// SIGTERM, and SIGKILL when that does not help in time. Answers when the command has ended.
#[utoipa::path(post, path = "/containers/{name}/stop", params(("name" = String, Path)), request_body = Stop,
    responses((status = 200), (status = "default", body = ApiError)))]
async fn stop(
    State(agent): State<Arc<Agent>>,
    Extension(waiters): Extension<Waiters>,
    Path(name): Path<String>,
    Body(request): Body<Stop>,
) -> Reply<()> {
    let _place = waiters.take()?;
    blocking(agent, move |agent| agent.containers.stop(&name, request))
        .await
        .map(Json)
}

/// Prepares another command in the container; it starts when its client says so at the returned socket.
#[utoipa::path(post, path = "/containers/{name}/exec", params(("name" = String, Path)), request_body = Exec,
    responses((status = 200, body = Attached), (status = "default", body = ApiError)))]
async fn exec(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(request): Body<Exec>,
) -> Reply<Attached> {
    blocking(agent, move |agent| agent.containers.exec(&name, request))
        .await
        .map(Json)
}

#[derive(Deserialize, IntoParams)]
struct LogsQuery {
    /// Go on until the command ends.
    #[serde(default)]
    follow: bool,
    /// The last lines only.
    tail: Option<usize>,
}

/// The container's log: one JSON object a line.
#[utoipa::path(get, path = "/containers/{name}/logs", params(("name" = String, Path), LogsQuery),
    responses((status = 200, body = String, content_type = "application/x-ndjson"), (status = "default", body = ApiError)))]
async fn logs(
    State(agent): State<Arc<Agent>>,
    Extension(waiters): Extension<Waiters>,
    Path(name): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Refusal> {
    let place = query.follow.then(|| waiters.take()).transpose()?;
    let written = blocking(agent, move |agent| {
        agent.containers.logs(&name, query.follow, query.tail)
    })
    .await?;
    Ok(lines(written, move |line| {
        let _ = &place;
        String::into_bytes(line)
    }))
}
