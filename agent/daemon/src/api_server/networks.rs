//! `/v1/networks`.

use std::sync::Arc;

use agent_api::{
    ApiError, Connect, Disconnect, EndpointDetail, FdbEntryCreate, FdbEntryView, FdbPart,
    FlowQuery, FlowReport, LinkUpdate, MdbEntryView, MirrorCreate, MirrorView, NetworkCreate,
    NetworkDetail, NetworkSummary, NetworkUpdate, PatchCreate, PatchLink, PortView, Pruned,
    QueryLogEntry, TraceLine, TraceReport, TraceRequest,
};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Body, Refusal, Reply, blocking, lines};
use crate::agent::Agent;
use crate::networks::Wish;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(prune))
        .routes(routes!(inspect, update, remove))
        .routes(routes!(connect))
        .routes(routes!(disconnect))
        .routes(routes!(patch))
        .routes(routes!(unpatch))
        .routes(routes!(patch_link, update_patch_link))
        .routes(routes!(mirrors, mirror))
        .routes(routes!(unmirror))
        .routes(routes!(fdb, add_fdb_entry, flush_fdb))
        .routes(routes!(remove_fdb_entry))
        .routes(routes!(mdb))
        .routes(routes!(ports))
        .routes(routes!(dns_log))
        .routes(routes!(trace, trace_live))
        .routes(routes!(flows))
}

/// Lists the networks of this host.
#[utoipa::path(get, path = "/networks", responses((status = 200, body = Vec<NetworkSummary>)))]
async fn list(State(agent): State<Arc<Agent>>) -> Json<Vec<NetworkSummary>> {
    // It only looks at what is in memory: no thread is needed for that.
    Json(agent.networks.list())
}

/// Creates a network.
#[utoipa::path(post, path = "/networks", request_body = NetworkCreate,
    responses((status = 200, body = NetworkSummary), (status = "default", body = ApiError)))]
async fn create(
    State(agent): State<Arc<Agent>>,
    Body(request): Body<NetworkCreate>,
) -> Reply<NetworkSummary> {
    blocking(agent, move |agent| agent.create_network(request))
        .await
        .map(Json)
}

/// Removes every network that has no endpoint.
#[utoipa::path(post, path = "/networks/prune", responses((status = 200, body = Pruned), (status = "default", body = ApiError)))]
async fn prune(State(agent): State<Arc<Agent>>) -> Reply<Pruned> {
    blocking(agent, |agent| Ok(agent.networks.prune()))
        .await
        .map(Json)
}

/// How much is asked.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DetailQuery {
    /// `false` leaves out what was counted, `drops` and `gone`, for which every port and the packet filter are asked, and
    /// `remote_endpoints`, which may be thousands.
    counters: Option<bool>,
}

/// Shows one network, by name, id or unique prefix of its id, of at least four digits.
#[utoipa::path(get, path = "/networks/{name}", params(("name" = String, Path), DetailQuery),
    responses((status = 200, body = NetworkDetail), (status = "default", body = ApiError)))]
async fn inspect(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Query(query): Query<DetailQuery>,
) -> Reply<NetworkDetail> {
    let counted = query.counters.unwrap_or(true);
    blocking(agent, move |agent| {
        Ok(agent.networks.inspect(&name, counted)?)
    })
    .await
    .map(Json)
}

/// Calls a network otherwise that nobody is on.
#[utoipa::path(patch, path = "/networks/{name}", params(("name" = String, Path)), request_body = NetworkUpdate,
    responses((status = 200, body = NetworkSummary), (status = "default", body = ApiError)))]
async fn update(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(update): Body<NetworkUpdate>,
) -> Reply<NetworkSummary> {
    blocking(agent, move |agent| agent.networks.update(&name, update))
        .await
        .map(Json)
}

/// Removes a network that has no endpoint.
#[utoipa::path(delete, path = "/networks/{name}", params(("name" = String, Path)),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn remove(State(agent): State<Arc<Agent>>, Path(name): Path<String>) -> Reply<()> {
    blocking(agent, move |agent| agent.remove_network(&name))
        .await
        .map(Json)
}

/// Attaches a running container to one more network.
#[utoipa::path(post, path = "/networks/{name}/connect", params(("name" = String, Path)), request_body = Connect,
    responses((status = 200, body = EndpointDetail), (status = "default", body = ApiError)))]
async fn connect(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(request): Body<Connect>,
) -> Reply<EndpointDetail> {
    blocking(agent, move |agent| {
        agent.containers.connect(&name, &request)
    })
    .await
    .map(Json)
}

/// Detaches a container from a network.
#[utoipa::path(post, path = "/networks/{name}/disconnect", params(("name" = String, Path)), request_body = Disconnect,
    responses((status = 200), (status = "default", body = ApiError)))]
async fn disconnect(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(request): Body<Disconnect>,
) -> Reply<()> {
    blocking(agent, move |agent| {
        agent.containers.disconnect(&name, &request)
    })
    .await
    .map(Json)
}

/// Joins the network with another one of this host: frames cross as if both were one segment.
#[utoipa::path(post, path = "/networks/{name}/patches", params(("name" = String, Path)), request_body = PatchCreate,
    responses((status = 200), (status = "default", body = ApiError)))]
async fn patch(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(request): Body<PatchCreate>,
) -> Reply<()> {
    blocking(agent, move |agent| {
        let PatchCreate {
            network,
            impairments,
        } = request;
        agent.networks.patch(&name, &network, impairments)
    })
    .await
    .map(Json)
}

/// Shows what goes wrong between two networks that are joined.
#[utoipa::path(get, path = "/networks/{name}/patches/{other}/link",
    params(("name" = String, Path), ("other" = String, Path)),
    responses((status = 200, body = PatchLink), (status = "default", body = ApiError)))]
async fn patch_link(
    State(agent): State<Arc<Agent>>,
    Path((name, other)): Path<(String, String)>,
) -> Reply<PatchLink> {
    blocking(agent, move |agent| agent.networks.patch_link(&name, &other))
        .await
        .map(Json)
}

/// Changes it, while frames flow. It stays so over restarts of the agent.
#[utoipa::path(patch, path = "/networks/{name}/patches/{other}/link",
    params(("name" = String, Path), ("other" = String, Path)), request_body = LinkUpdate,
    responses((status = 200, body = PatchLink), (status = "default", body = ApiError)))]
async fn update_patch_link(
    State(agent): State<Arc<Agent>>,
    Path((name, other)): Path<(String, String)>,
    Body(update): Body<LinkUpdate>,
) -> Reply<PatchLink> {
    blocking(agent, move |agent| {
        agent.networks.update_patch_link(&name, &other, &update)
    })
    .await
    .map(Json)
}

/// Parts two networks that were joined.
#[utoipa::path(delete, path = "/networks/{name}/patches/{other}",
    params(("name" = String, Path), ("other" = String, Path)),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn unpatch(
    State(agent): State<Arc<Agent>>,
    Path((name, other)): Path<(String, String)>,
) -> Reply<()> {
    blocking(agent, move |agent| agent.networks.unpatch(&name, &other))
        .await
        .map(Json)
}

/// The ports whose frames are written to other ports as well.
#[utoipa::path(get, path = "/networks/{name}/mirrors", params(("name" = String, Path)),
    responses((status = 200, body = Vec<MirrorView>), (status = "default", body = ApiError)))]
async fn mirrors(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
) -> Reply<Vec<MirrorView>> {
    blocking(agent, move |agent| agent.networks.mirrors(&name))
        .await
        .map(Json)
}

/// Has what passes one port of the network written to another one as well, until that is ended.
#[utoipa::path(post, path = "/networks/{name}/mirrors", params(("name" = String, Path)), request_body = MirrorCreate,
    responses((status = 200), (status = "default", body = ApiError)))]
async fn mirror(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(request): Body<MirrorCreate>,
) -> Reply<()> {
    blocking(agent, move |agent| agent.networks.mirror(&name, &request))
        .await
        .map(Json)
}

/// Ends the mirror of a port.
#[utoipa::path(delete, path = "/networks/{name}/mirrors/{from}",
    params(("name" = String, Path), ("from" = String, Path)),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn unmirror(
    State(agent): State<Arc<Agent>>,
    Path((name, from)): Path<(String, String)>,
) -> Reply<()> {
    blocking(agent, move |agent| agent.networks.unmirror(&name, &from))
        .await
        .map(Json)
}

/// The network's forwarding table.
#[utoipa::path(get, path = "/networks/{name}/fdb", params(("name" = String, Path)),
    responses((status = 200, body = Vec<FdbEntryView>), (status = "default", body = ApiError)))]
async fn fdb(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
) -> Reply<Vec<FdbEntryView>> {
    blocking(agent, move |agent| Ok(agent.networks.fdb(&name)?))
        .await
        .map(Json)
}

/// What to flush.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FlushQuery {
    /// The port behind which addresses are forgotten, by its number or by who is behind it; all of them where absent.
    port: Option<String>,
    /// `learned` or `static`, those that somebody configured; learned ones where absent.
    #[param(inline)]
    part: Option<FdbPart>,
}

/// Configures an address, so that the switch need not learn it. It stays so over restarts, until it is removed.
#[utoipa::path(post, path = "/networks/{name}/fdb", params(("name" = String, Path)), request_body = FdbEntryCreate,
    responses((status = 200), (status = "default", body = ApiError)))]
async fn add_fdb_entry(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(request): Body<FdbEntryCreate>,
) -> Reply<()> {
    blocking(agent, move |agent| {
        agent.networks.add_station(&name, &request)
    })
    .await
    .map(Json)
}

/// Forgets an address, be it configured or learned. Those of endpoints stay.
#[utoipa::path(delete, path = "/networks/{name}/fdb/{mac}", params(("name" = String, Path), ("mac" = String, Path)),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn remove_fdb_entry(
    State(agent): State<Arc<Agent>>,
    Path((name, mac)): Path<(String, String)>,
) -> Reply<()> {
    blocking(agent, move |agent| {
        agent.networks.remove_station(&name, &mac)
    })
    .await
    .map(Json)
}

/// Forgets addresses that were learned or configured. Those of endpoints stay.
#[utoipa::path(delete, path = "/networks/{name}/fdb", params(("name" = String, Path), FlushQuery),
    responses((status = 200), (status = "default", body = ApiError)))]
async fn flush_fdb(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Query(query): Query<FlushQuery>,
) -> Reply<()> {
    blocking(agent, move |agent| {
        let part = query.part.unwrap_or(FdbPart::Learned);
        let port = query.port.as_deref();
        agent.networks.flush_fdb(&name, port, part)
    })
    .await
    .map(Json)
}

/// Who listens to which multicast group, in a network that snoops.
#[utoipa::path(get, path = "/networks/{name}/mdb", params(("name" = String, Path)),
    responses((status = 200, body = Vec<MdbEntryView>), (status = "default", body = ApiError)))]
async fn mdb(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
) -> Reply<Vec<MdbEntryView>> {
    blocking(agent, move |agent| agent.networks.mdb(&name))
        .await
        .map(Json)
}

/// The network's ports with their counters.
#[utoipa::path(get, path = "/networks/{name}/ports", params(("name" = String, Path)),
    responses((status = 200, body = Vec<PortView>), (status = "default", body = ApiError)))]
async fn ports(State(agent): State<Arc<Agent>>, Path(name): Path<String>) -> Reply<Vec<PortView>> {
    blocking(agent, move |agent| Ok(agent.networks.ports(&name)?))
        .await
        .map(Json)
}

/// The queries that the network's forwarder answers from now on: one JSON object a line, until the network is gone.
#[utoipa::path(get, path = "/networks/{name}/dns/log", params(("name" = String, Path)),
    responses((status = 200, body = QueryLogEntry, content_type = "application/x-ndjson"), (status = "default", body = ApiError)))]
async fn dns_log(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let entries = blocking(agent, move |agent| agent.networks.dns_log(&name)).await?;
    Ok(lines(entries, |entry| {
        let mut line = serde_json::to_vec(&entry).unwrap_or_default();
        line.push(b'\n');
        line
    }))
}

/// Says what would become of frames, step by step. Nothing is sent, learned or counted.
#[utoipa::path(post, path = "/networks/{name}/trace", params(("name" = String, Path)), request_body = TraceRequest,
    responses((status = 200, body = TraceReport), (status = "default", body = ApiError)))]
async fn trace(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Body(request): Body<TraceRequest>,
) -> Reply<TraceReport> {
    blocking(agent, move |agent| agent.networks.trace(&name, &request))
        .await
        .map(Json)
}

/// Which frames to follow.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LiveQuery {
    /// Words that must all hold: host A, mac M, port N, arp, ip, ip6, icmp, tcp, udp, with `not` and `and`.
    filter: Option<String>,
    /// Only frames that are dropped.
    drops: Option<bool>,
    /// Only what passes this host's switch.
    here: Option<bool>,
}

/// The frames that pass the network's switches from now on, with their verdicts: one JSON object a line, drops first, until the
/// network is gone. A busy network is sampled. Those of the cluster's other hosts that have endpoints on it say which host's they are,
/// and a host whose frames cannot be shown is told once.
#[utoipa::path(get, path = "/networks/{name}/trace", params(("name" = String, Path), LiveQuery),
    responses((status = 200, body = TraceLine, content_type = "application/x-ndjson"), (status = "default", body = ApiError)))]
async fn trace_live(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Query(query): Query<LiveQuery>,
) -> Result<Response, Refusal> {
    let filter = query.filter.unwrap_or_default();
    let told = blocking(agent, move |agent| {
        let wish = Wish {
            network: &name,
            filter: &filter,
            drops_only: query.drops.unwrap_or(false),
        };
        match query.here.unwrap_or(false) {
            true => agent.networks.trace_live(&wish),
            false => agent.networks.trace_everywhere(&wish),
        }
    })
    .await?;
    Ok(lines(told, |told| {
        let mut line = serde_json::to_vec(&told).unwrap_or_default();
        line.push(b'\n');
        line
    }))
}

/// Who talks to whom on the network, by samples of the frames that pass this host's switch. It looks for some seconds, then answers.
#[utoipa::path(get, path = "/networks/{name}/flows", params(("name" = String, Path), FlowQuery),
    responses((status = 200, body = FlowReport), (status = "default", body = ApiError)))]
async fn flows(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
    Query(query): Query<FlowQuery>,
) -> Reply<FlowReport> {
    let looking = blocking(Arc::clone(&agent), move |agent| {
        agent.flows.look(&name, query)
    });
    let looking = looking.await?;
    looking.wait().await;
    blocking(agent, move |_| Ok(looking.report()))
        .await
        .map(Json)
}
