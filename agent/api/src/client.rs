//! The client of the REST API: HTTP/1 over the agent's unix socket, one connection per request.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{
    AclAction, AclAdd, AclDefault, AclView, ApiError, Attached, CaRotate, Capture, ClusterBackup,
    ClusterDetail, ClusterHealth, ClusterInit, ClusterJoin, ClusterManager, ClusterPoint,
    ClusterRecovered, ClusterRemove, ClusterRemoved, ClusterRestore, ClusterRevoke, Connect,
    ContainerCreate, ContainerDetail, ContainerSummary, Created, DEFAULT_SOCKET, Disconnect,
    EndpointCreate, EndpointDetail, EndpointUpdate, ErrorKind, EventQuery, Exec, FdbEntryCreate,
    FdbEntryView, FdbPart, FlowQuery, FlowReport, Info, LabelsUpdate, LinkDetail, LinkUpdate,
    ManagersView, MdbEntryView, MirrorCreate, MirrorView, NetworkCreate, NetworkDetail,
    NetworkSummary, NetworkUpdate, PatchCreate, PortDetail, PortSettings, PortView, Pruned,
    RateDetail, RateUpdate, Stop, Token, TokenCreate, TraceReport, TraceRequest, Version,
};

/// Speaks to one agent. Holds no connection: an agent may restart between two calls.
///
/// Every method needs a tokio runtime with I/O, and waits as long as the agent takes; dropping the future gives up.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why a request brought no answer. Every variant is one line that names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no agent at {}; start one with: {}", .socket.display(), start_command(.socket))]
    NotRunning { socket: PathBuf },
    #[error(
        "the socket {} was left behind by an agent that is gone; start one with: {}",
        .socket.display(),
        start_command(.socket)
    )]
    Stale { socket: PathBuf },
    #[error(
        "no permission to use {}; run as root, or as a member of the group that owns the socket",
        .socket.display()
    )]
    Denied { socket: PathBuf },
    #[error("{} is no socket; name the agent's with --socket, as in --socket {DEFAULT_SOCKET}", .socket.display())]
    NoSocket { socket: PathBuf },
    #[error("cannot connect to {}: {source}; check that --socket names an agent's socket", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error(
        "the agent at {} broke off the conversation ({reason}); its log says why",
        .socket.display()
    )]
    BrokeOff { socket: PathBuf, reason: String },
    #[error(
        "the agent at {} does not answer {request} as version {} expects ({reason}); run both in the same version",
        .socket.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Unexpected {
        socket: PathBuf,
        request: String,
        reason: String,
    },
    /// The agent understood, and said no.
    #[error(transparent)]
    Refused(#[from] ApiError),
}

impl ClientError {
    /// Whether the agent says that the named thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Some(ErrorKind::NotFound)
    }

    /// What sort of refusal it is; `None` where no agent refused.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Refused(error) => Some(error.kind),
            _ => None,
        }
    }
}

type Answer<T> = Result<T, ClientError>;

impl Client {
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub async fn version(&self) -> Answer<Version> {
        self.fetch("/version").await
    }

    pub async fn info(&self) -> Answer<Info> {
        self.fetch("/info").await
    }

    /// The API's own description, as OpenAPI 3.
    pub async fn openapi(&self) -> Answer<serde_json::Value> {
        self.fetch("/openapi.json").await
    }

    pub async fn networks(&self) -> Answer<Vec<NetworkSummary>> {
        self.fetch("/networks").await
    }

    pub async fn create_network(&self, network: &NetworkCreate) -> Answer<NetworkSummary> {
        self.post("/networks", network).await
    }

    pub async fn update_network(
        &self,
        name: &str,
        update: &NetworkUpdate,
    ) -> Answer<NetworkSummary> {
        self.amend(&format!("/networks/{}", segment(name)), update)
            .await
    }

    /// Without what was counted, as it is in the agent's memory. `name` may be an id or the beginning of one, here and below.
    pub async fn network(&self, name: &str) -> Answer<NetworkDetail> {
        self.fetch(&format!("/networks/{}?counters=false", segment(name)))
            .await
    }

    /// With what was counted, for which every port and the packet filter are asked.
    pub async fn network_counted(&self, name: &str) -> Answer<NetworkDetail> {
        self.fetch(&format!("/networks/{}", segment(name))).await
    }

    pub async fn remove_network(&self, name: &str) -> Answer<()> {
        self.delete(&format!("/networks/{}", segment(name))).await
    }

    pub async fn prune_networks(&self) -> Answer<Pruned> {
        self.post("/networks/prune", &()).await
    }

    pub async fn connect(&self, network: &str, connect: &Connect) -> Answer<()> {
        let path = format!("/networks/{}/connect", segment(network));
        self.tell(&path, connect).await
    }

    pub async fn disconnect(&self, network: &str, disconnect: &Disconnect) -> Answer<()> {
        let path = format!("/networks/{}/disconnect", segment(network));
        self.tell(&path, disconnect).await
    }

    /// Joins two networks to one segment.
    pub async fn patch_networks(&self, network: &str, patch: &PatchCreate) -> Answer<()> {
        let path = format!("/networks/{}/patches", segment(network));
        self.tell(&path, patch).await
    }

    pub async fn unpatch_networks(&self, network: &str, other: &str) -> Answer<()> {
        let (network, other) = (segment(network), segment(other));
        self.delete(&format!("/networks/{network}/patches/{other}"))
            .await
    }

    pub async fn mirrors(&self, network: &str) -> Answer<Vec<MirrorView>> {
        self.fetch(&format!("/networks/{}/mirrors", segment(network)))
            .await
    }

    /// Has what passes one port written to another one as well.
    pub async fn mirror_port(&self, network: &str, mirror: &MirrorCreate) -> Answer<()> {
        let path = format!("/networks/{}/mirrors", segment(network));
        self.tell(&path, mirror).await
    }

    pub async fn unmirror_port(&self, network: &str, from: &str) -> Answer<()> {
        let (network, from) = (segment(network), segment(from));
        self.delete(&format!("/networks/{network}/mirrors/{from}"))
            .await
    }

    /// Forgets entries of the forwarding table, behind one port or all.
    pub async fn flush_fdb(&self, network: &str, port: Option<&str>, part: FdbPart) -> Answer<()> {
        let part = match part {
            FdbPart::Learned => "learned",
            FdbPart::Static => "static",
        };
        let port = port.map(|port| format!("&port={}", segment(port)));
        let path = format!("/networks/{}/fdb?part={part}", segment(network));
        self.delete(&(path + &port.unwrap_or_default())).await
    }

    /// Configures a station of the network's forwarding table.
    pub async fn add_fdb_entry(&self, network: &str, entry: &FdbEntryCreate) -> Answer<()> {
        let path = format!("/networks/{}/fdb", segment(network));
        self.tell(&path, entry).await
    }

    /// Forgets one station.
    pub async fn remove_fdb_entry(&self, network: &str, mac: &str) -> Answer<()> {
        let (network, mac) = (segment(network), segment(mac));
        self.delete(&format!("/networks/{network}/fdb/{mac}")).await
    }

    /// The endpoint's port, and how the switch treats it.
    pub async fn endpoint_port(&self, id: &str) -> Answer<PortDetail> {
        self.fetch(&format!("/endpoints/{}/port", segment(id)))
            .await
    }

    /// Changes how the switch treats it.
    pub async fn update_port(&self, id: &str, settings: &PortSettings) -> Answer<PortDetail> {
        let path = format!("/endpoints/{}/port", segment(id));
        self.amend(&path, settings).await
    }

    pub async fn acl(&self, network: &str) -> Answer<AclView> {
        self.fetch(&format!("/networks/{}/acl", segment(network)))
            .await
    }

    /// Adds a rule to the network's access list, and gives its priority.
    pub async fn add_acl_rule(&self, network: &str, add: &AclAdd) -> Answer<u32> {
        let path = format!("/networks/{}/acl", segment(network));
        self.post(&path, add).await
    }

    pub async fn remove_acl_rule(&self, network: &str, priority: u32) -> Answer<()> {
        let path = format!("/networks/{}/acl/{priority}", segment(network));
        self.delete(&path).await
    }

    /// Says what becomes of frames that no rule means.
    pub async fn set_acl_default(&self, network: &str, action: AclAction) -> Answer<()> {
        let path = format!("/networks/{}/acl/default", segment(network));
        self.tell(&path, &AclDefault { action }).await
    }

    /// Changes the labels by which access lists know the endpoint.
    pub async fn update_labels(&self, id: &str, update: &LabelsUpdate) -> Answer<EndpointDetail> {
        let path = format!("/endpoints/{}/labels", segment(id));
        self.amend(&path, update).await
    }

    pub async fn fdb(&self, network: &str) -> Answer<Vec<FdbEntryView>> {
        self.fetch(&format!("/networks/{}/fdb", segment(network)))
            .await
    }

    /// Who listens to which multicast group.
    pub async fn mdb(&self, network: &str) -> Answer<Vec<MdbEntryView>> {
        self.fetch(&format!("/networks/{}/mdb", segment(network)))
            .await
    }

    pub async fn ports(&self, network: &str) -> Answer<Vec<PortView>> {
        self.fetch(&format!("/networks/{}/ports", segment(network)))
            .await
    }

    /// What would become of frames that nobody sends.
    pub async fn trace(&self, network: &str, trace: &TraceRequest) -> Answer<TraceReport> {
        let path = format!("/networks/{}/trace", segment(network));
        self.post(&path, trace).await
    }

    /// Who talks to whom on the network; waits for as long as is looked.
    pub async fn flows(&self, network: &str, query: &FlowQuery) -> Answer<FlowReport> {
        let mut path = format!("/networks/{}/flows?drops={}", segment(network), query.drops);
        let given = [
            ("top", query.top),
            ("sample", query.sample),
            ("seconds", query.seconds),
        ];
        for (name, number) in given {
            if let Some(number) = number {
                // Writing to a string does not fail.
                let _ = write!(path, "&{name}={number}");
            }
        }
        self.fetch(&path).await
    }

    /// The frames that pass the network's switch from now on, a [`crate::TraceSight`] a line, until the network is gone.
    pub async fn trace_live(&self, network: &str, filter: &str, drops: bool) -> Answer<LogStream> {
        let (network, filter) = (segment(network), segment(filter));
        let path = format!("/networks/{network}/trace?filter={filter}&drops={drops}");
        self.follow(&path).await
    }

    /// What happens, an [`crate::Event`] a line.
    pub async fn events(&self, query: &EventQuery) -> Answer<LogStream> {
        let mut path = "/events?".to_owned();
        let given = [("since_ms", query.since_ms), ("until_ms", query.until_ms)];
        for (name, ms) in given {
            if let Some(ms) = ms {
                // Writing to a string does not fail.
                let _ = write!(path, "{name}={ms}&");
            }
        }
        if !query.filters.is_empty() {
            let filters = serde_json::to_string(&query.filters);
            let filters =
                filters.map_err(|error| self.unexpected("GET", "/events", &error.to_string()))?;
            let _ = write!(path, "filters={}", segment(&filters));
        }
        self.follow(&path).await
    }

    pub async fn endpoints(&self) -> Answer<Vec<EndpointDetail>> {
        self.fetch("/endpoints").await
    }

    pub async fn create_endpoint(&self, endpoint: &EndpointCreate) -> Answer<EndpointDetail> {
        self.post("/endpoints", endpoint).await
    }

    pub async fn endpoint(&self, id: &str) -> Answer<EndpointDetail> {
        self.fetch(&format!("/endpoints/{}", segment(id))).await
    }

    pub async fn update_endpoint(
        &self,
        id: &str,
        update: &EndpointUpdate,
    ) -> Answer<EndpointDetail> {
        self.amend(&format!("/endpoints/{}", segment(id)), update)
            .await
    }

    /// Takes an endpoint's port up or down.
    pub async fn set_endpoint_up(&self, id: &str, up: bool) -> Answer<EndpointDetail> {
        let state = if up { "up" } else { "down" };
        self.post(&format!("/endpoints/{}/{state}", segment(id)), &())
            .await
    }

    /// The links of all endpoints, with what frames met at them.
    pub async fn links(&self) -> Answer<Vec<LinkDetail>> {
        self.fetch("/links").await
    }

    /// Changes what goes wrong at an endpoint's link.
    pub async fn update_link(&self, id: &str, update: &LinkUpdate) -> Answer<LinkDetail> {
        let path = format!("/endpoints/{}/link", segment(id));
        self.amend(&path, update).await
    }

    /// The rates of all endpoints, with what frames met of them.
    pub async fn rates(&self) -> Answer<Vec<RateDetail>> {
        self.fetch("/rates").await
    }

    /// Changes what an endpoint may get and send.
    pub async fn update_rate(&self, id: &str, update: &RateUpdate) -> Answer<RateDetail> {
        let path = format!("/endpoints/{}/rate", segment(id));
        self.amend(&path, update).await
    }

    /// Detaches the sandbox that `path` leads to, from `network` or from all.
    pub async fn detach_sandbox(&self, path: &Path, network: Option<&str>) -> Answer<()> {
        let network = network.map(|name| format!("&network={}", segment(name)));
        let sandbox = segment(&path.to_string_lossy());
        self.delete(&format!(
            "/endpoints?sandbox={sandbox}{}",
            network.unwrap_or_default()
        ))
        .await
    }

    pub async fn remove_endpoint(&self, id: &str) -> Answer<()> {
        self.delete(&format!("/endpoints/{}", segment(id))).await
    }

    pub async fn containers(&self) -> Answer<Vec<ContainerSummary>> {
        self.fetch("/containers").await
    }

    pub async fn create_container(&self, container: &ContainerCreate) -> Answer<Created> {
        self.post("/containers", container).await
    }

    /// The same for the caller to start: with the hold the container goes, unless it was started before.
    pub async fn create_held_container(
        &self,
        container: &ContainerCreate,
    ) -> Answer<(Created, Hold)> {
        let path = "/containers?hold=true";
        let body = self.encode(path, container)?;
        let response = self.ask(Method::POST, path, body).await?;
        let mut answer = self.stream(response);
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            match answer.chunk().await? {
                Some(bytes) => line.extend_from_slice(&bytes),
                None => break,
            }
        }
        let created = serde_json::from_slice(&line)
            .map_err(|error| self.unexpected("POST", path, &error.to_string()))?;
        Ok((created, Hold(answer)))
    }

    pub async fn container(&self, name: &str) -> Answer<ContainerDetail> {
        self.fetch(&format!("/containers/{}", segment(name))).await
    }

    /// With `force`, a running container is killed first.
    pub async fn remove_container(&self, name: &str, force: bool) -> Answer<()> {
        let force = if force { "?force=true" } else { "" };
        self.delete(&format!("/containers/{}{force}", segment(name)))
            .await
    }

    pub async fn start_container(&self, name: &str) -> Answer<()> {
        let path = format!("/containers/{}/start", segment(name));
        self.tell(&path, &()).await
    }

    /// Answers when the container has ended.
    pub async fn stop_container(&self, name: &str, stop: &Stop) -> Answer<()> {
        let path = format!("/containers/{}/stop", segment(name));
        self.tell(&path, stop).await
    }

    pub async fn exec(&self, name: &str, exec: &Exec) -> Answer<Attached> {
        let path = format!("/containers/{}/exec", segment(name));
        self.post(&path, exec).await
    }

    /// The container's log, a JSON object a line: the last `tail` lines or all of them, and with `follow` also what
    /// comes, until the container ends.
    pub async fn logs(&self, name: &str, follow: bool, tail: Option<u64>) -> Answer<LogStream> {
        let mut path = format!("/containers/{}/logs?follow={follow}", segment(name));
        if let Some(lines) = tail {
            path.push_str(&format!("&tail={lines}"));
        }
        self.follow(&path).await
    }

    /// The queries that the network's forwarder answers from now on, a [`crate::QueryLogEntry`] a line, until the
    /// network is gone.
    pub async fn dns_log(&self, network: &str) -> Answer<LogStream> {
        let path = format!("/networks/{}/dns/log", segment(network));
        self.follow(&path).await
    }

    /// What passes the network's ports from now on, as pcapng; dropping it ends the capture.
    pub async fn capture_network(&self, network: &str, capture: &Capture) -> Answer<LogStream> {
        let path = format!("/networks/{}/capture", segment(network));
        self.capture(path + "?port=", capture).await
    }

    /// The same of a container's links.
    pub async fn capture_container(&self, container: &str, capture: &Capture) -> Answer<LogStream> {
        let path = format!("/containers/{}/capture", segment(container));
        self.capture(path + "?interface=", capture).await
    }

    /// `path` ends where what is captured of it is named.
    async fn capture(&self, mut path: String, capture: &Capture) -> Answer<LogStream> {
        path += &segment(capture.of.as_deref().unwrap_or_default());
        if let Some(bytes) = capture.snap_len {
            path += &format!("&snaplen={bytes}");
        }
        path += &format!("&filter={}", segment(&capture.filter));
        path += &format!("&program={}", capture.program);
        self.follow(&path).await
    }

    pub async fn cluster(&self) -> Answer<ClusterDetail> {
        self.fetch("/cluster").await
    }

    pub async fn cluster_health(&self) -> Answer<ClusterHealth> {
        self.fetch("/cluster/health").await
    }

    pub async fn init_cluster(&self, init: &ClusterInit) -> Answer<ClusterDetail> {
        self.post("/cluster/init", init).await
    }

    pub async fn join_cluster(&self, join: &ClusterJoin) -> Answer<ClusterDetail> {
        self.post("/cluster/join", join).await
    }

    pub async fn create_token(&self, token: &TokenCreate) -> Answer<Token> {
        self.post("/cluster/tokens", token).await
    }

    pub async fn revoke_host(&self, revoke: &ClusterRevoke) -> Answer<()> {
        self.tell("/cluster/revoke", revoke).await
    }

    pub async fn promote_host(&self, host: &ClusterManager) -> Answer<ManagersView> {
        self.post("/cluster/promote", host).await
    }

    pub async fn recover_cluster(&self) -> Answer<ClusterRecovered> {
        self.post("/cluster/recover", &()).await
    }

    pub async fn demote_host(&self, host: &ClusterManager) -> Answer<ManagersView> {
        self.post("/cluster/demote", host).await
    }

    pub async fn remove_host(&self, remove: &ClusterRemove) -> Answer<ClusterRemoved> {
        self.post("/cluster/remove", remove).await
    }

    pub async fn back_up_cluster(&self) -> Answer<ClusterBackup> {
        self.fetch("/cluster/backup").await
    }

    pub async fn restore_cluster(&self, restore: &ClusterRestore) -> Answer<ClusterDetail> {
        self.post("/cluster/restore", restore).await
    }

    /// Has this host ask the manager there.
    pub async fn point_to_manager(&self, point: &ClusterPoint) -> Answer<()> {
        self.tell("/cluster/managers", point).await
    }

    pub async fn rotate_ca(&self, rotate: &CaRotate) -> Answer<()> {
        self.tell("/cluster/ca/rotate", rotate).await
    }

    pub async fn leave_cluster(&self) -> Answer<()> {
        self.delete("/cluster").await
    }

    fn stream(&self, response: Response<Incoming>) -> LogStream {
        LogStream {
            socket: self.socket.clone(),
            body: response.into_body(),
        }
    }

    async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        let response = self.ask(Method::GET, path, Bytes::new()).await?;
        self.decode("GET", path, response).await
    }

    /// As [`Self::fetch`], of an answer that goes on.
    async fn follow(&self, path: &str) -> Answer<LogStream> {
        let response = self.ask(Method::GET, path, Bytes::new()).await?;
        Ok(self.stream(response))
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Answer<T> {
        let body = self.encode(path, body)?;
        let response = self.ask(Method::POST, path, body).await?;
        self.decode("POST", path, response).await
    }

    async fn amend<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Answer<T> {
        let body = self.encode(path, body)?;
        let response = self.ask(Method::PATCH, path, body).await?;
        self.decode("PATCH", path, response).await
    }

    /// As [`Self::post`], where the answer's body does not matter.
    async fn tell(&self, path: &str, body: &impl Serialize) -> Answer<()> {
        let body = self.encode(path, body)?;
        self.ask(Method::POST, path, body).await.map(drop)
    }

    async fn delete(&self, path: &str) -> Answer<()> {
        self.ask(Method::DELETE, path, Bytes::new()).await.map(drop)
    }

    fn encode(&self, path: &str, body: &impl Serialize) -> Answer<Bytes> {
        serde_json::to_vec(body)
            .map(Bytes::from)
            .map_err(|error| self.unexpected("POST", path, &error.to_string()))
    }

    async fn decode<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        response: Response<Incoming>,
    ) -> Answer<T> {
        let body = self.collect(response).await?;
        serde_json::from_slice(&body)
            .map_err(|error| self.unexpected(method, path, &error.to_string()))
    }

    /// Sends one request and waits for the head of its answer; anything but 2xx is an error.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Answer<Response<Incoming>> {
        let request = self.request(&method, path, body)?;
        let response = self.send(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.collect(response).await?;
        Err(self.refusal(method.as_str(), path, status, &body))
    }

    /// Sends somebody else's request as it is. `path` begins with `/v1/`, and has the query. Whatever the agent answers is no error.
    pub async fn forward(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Answer<Response<Incoming>> {
        let path = path.strip_prefix("/v1").unwrap_or(path);
        let request = self.request(&method, path, body)?;
        self.send(request).await
    }

    /// A request that an agent did not take, since another one takes its place, goes to that one.
    async fn send(&self, mut request: Request<Full<Bytes>>) -> Answer<Response<Incoming>> {
        let mut again = 0..PLACES_TAKEN_MAX;
        loop {
            let mut failed = match self.dial().await?.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match failed.take_message().filter(|_| again.next().is_some()) {
                Some(unsent) => request = unsent,
                None => return Err(self.broke_off(failed.error())),
            }
        }
    }

    async fn dial(&self) -> Answer<http1::SendRequest<Full<Bytes>>> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broke_off(&error))?;
        // Ends by itself: with the answer's last byte, or when the answer is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: &Method, path: &str, body: Bytes) -> Answer<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/v1{path}"))
            .header(header::HOST, "tapestry");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request
            .body(Full::new(body))
            .map_err(|error| self.unexpected(method.as_str(), path, &error.to_string()))
    }

    async fn collect(&self, response: Response<Incoming>) -> Answer<Bytes> {
        let body = response.into_body().collect().await;
        body.map(|whole| whole.to_bytes())
            .map_err(|error| self.broke_off(&error))
    }

    fn refusal(&self, method: &str, path: &str, status: StatusCode, body: &[u8]) -> ClientError {
        if let Ok(error) = serde_json::from_slice::<ApiError>(body) {
            return ClientError::Refused(ApiError::new(error.kind, one_line(&error.message)));
        }
        let text = one_line(&String::from_utf8_lossy(body));
        let reason = if text.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {text}")
        };
        self.unexpected(method, path, &reason)
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        // The kernel says of a file and of a directory what it says of a socket that nobody listens at.
        let is_other = |found: std::fs::Metadata| !found.file_type().is_socket();
        if std::fs::metadata(&socket).is_ok_and(is_other) {
            return ClientError::NoSocket { socket };
        }
        match source.kind() {
            io::ErrorKind::NotFound => ClientError::NotRunning { socket },
            io::ErrorKind::ConnectionRefused => ClientError::Stale { socket },
            io::ErrorKind::PermissionDenied => ClientError::Denied { socket },
            _ => ClientError::Connect { socket, source },
        }
    }

    fn broke_off(&self, error: &hyper::Error) -> ClientError {
        ClientError::BrokeOff {
            socket: self.socket.clone(),
            reason: one_line(&error.to_string()),
        }
    }

    fn unexpected(&self, method: &str, path: &str, reason: &str) -> ClientError {
        ClientError::Unexpected {
            socket: self.socket.clone(),
            request: format!("{method} /v1{path}"),
            reason: one_line(reason),
        }
    }
}

/// The bytes of a log as they come.
#[derive(Debug)]
pub struct LogStream {
    socket: PathBuf,
    body: Incoming,
}

impl LogStream {
    /// The next bytes, cut anywhere; `None` at the end.
    pub async fn chunk(&mut self) -> Answer<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| ClientError::BrokeOff {
                socket: self.socket.clone(),
                reason: one_line(&error.to_string()),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// A container that was made and not started: the agent removes it when this goes, however.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "the connection lives as long as it")] LogStream);

/// How often in a row an agent may be replaced while a request is on its way.
const PLACES_TAKEN_MAX: usize = 2;

fn start_command(socket: &Path) -> String {
    if socket == Path::new(DEFAULT_SOCKET) {
        "tapestry agent".to_owned()
    } else {
        format!("tapestry agent --socket {}", socket.display())
    }
}

/// Percent-encodes one path segment (RFC 3986 §2.3: all but the unreserved characters).
fn segment(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Joins lines and takes out what could move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_encodes_all_but_unreserved_bytes() {
        assert_eq!(segment("my_net-1.x~"), "my_net-1.x~");
        assert_eq!(segment("a/b?c=ü"), "a%2Fb%3Fc%3D%C3%BC");
    }

    #[test]
    fn one_line_joins_lines_and_drops_escapes() {
        assert_eq!(one_line("a\n  b\u{1b}[31m c\n"), "a b [31m c");
    }

    #[test]
    fn remedy_names_the_socket_unless_it_is_the_default() {
        let missing = |socket: &str| ClientError::NotRunning {
            socket: socket.into(),
        };
        assert_eq!(
            missing(DEFAULT_SOCKET).to_string(),
            "no agent at /run/tapestry/agent.sock; start one with: tapestry agent"
        );
        assert_eq!(
            missing("/tmp/a.sock").to_string(),
            "no agent at /tmp/a.sock; start one with: tapestry agent --socket /tmp/a.sock"
        );
    }
}
