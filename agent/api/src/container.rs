//! Containers: commands in namespaces of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    DnsServer, EndpointDetail, EndpointSettings, PortChoice, PortMapping, PortRun, RestartPolicy,
    port_runs,
};

/// `POST /v1/containers`: everything is made and attached, the command waits for `POST /v1/containers/{name}/start`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerCreate {
    /// Made up where absent.
    pub name: Option<String>,
    pub hostname: Option<String>,
    pub network: NetworkMode,
    pub endpoint: EndpointSettings,
    /// Further networks that it is on from its start, in this order; they go with a network as its mode only.
    pub networks: Vec<NetworkAttachment>,
    /// Servers for names outside the network; the network's where empty.
    #[schema(value_type = Vec<String>, example = json!(["8.8.8.8", "tls://1.1.1.1#one.one.one.one"]))]
    pub dns: Vec<DnsServer>,
    /// Domains to look short names up in; the host's where empty, none where it is `.`.
    pub dns_search: Vec<String>,
    /// Options of `resolv.conf`, as `ndots:2`; the host's where empty.
    pub dns_options: Vec<String>,
    #[serde(with = "port_runs")]
    #[schema(value_type = Vec<PortRun>)]
    pub publish: Vec<PortMapping>,
    /// Published on the first host port that is free, one mapping each.
    pub publish_one_of: Vec<PortChoice>,
    /// Lines of its `hosts`, as `NAME:ADDRESS`; the address `host-gateway` stands for the host.
    pub extra_hosts: Vec<String>,
    /// Kernel settings of its network namespace, by names that begin with `net.`.
    pub sysctls: BTreeMap<String, String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    #[schema(value_type = Option<String>)]
    pub workdir: Option<PathBuf>,
    #[schema(value_type = Option<String>)]
    pub rootfs: Option<PathBuf>,
    /// The host's files to write to as if they were its own: what it writes is in memory, nobody else sees it, and it is gone when
    /// the container ends. Does not go with `rootfs` or `private_users`.
    pub private_root: bool,
    /// Directories whose content is copied to its `/` at each start, one after the other; with `private_root` only.
    #[schema(value_type = Vec<String>)]
    pub copies: Vec<PathBuf>,
    /// Files and directories of the host that it sees besides, as `HOST:CONTAINER` or `HOST:CONTAINER:ro`, by absolute paths.
    pub binds: Vec<String>,
    pub command: Vec<String>,
    /// Give the command a terminal.
    pub tty: bool,
    /// Keep the command's standard input open.
    pub interactive: bool,
    /// Remove the container when its command ends.
    pub remove: bool,
    /// Whether the command is started again when it ends.
    #[schema(value_type = String, example = "on-failure:3")]
    pub restart: RestartPolicy,
    /// A user namespace of its own: root inside is an unprivileged user outside.
    pub private_users: bool,
    /// Capabilities beyond Docker's default set, as `NET_ADMIN` or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities of that set that it goes without.
    pub cap_drop: Vec<String>,
    /// All capabilities, nothing covered or write-protected in `/proc` and `/sys`, and the agent serves it.
    pub privileged: bool,
    /// Bytes of memory that its processes may use together.
    pub memory: Option<u64>,
    /// Billionths of a processor that they may use together.
    pub nano_cpus: Option<u64>,
    /// How many processes and threads it may have.
    pub pids: Option<u64>,
    pub labels: BTreeMap<String, String>,
}

/// One more network of a container, and what it is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkAttachment {
    /// By name, id or unique prefix of its id, of at least four digits.
    pub network: String,
    #[serde(flatten)]
    pub settings: EndpointSettings,
}

/// Which network namespace the command gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "mode", content = "name")]
pub enum NetworkMode {
    /// The network `bridge`.
    #[default]
    Default,
    /// The network of that name.
    Network(String),
    /// The agent's own namespace.
    Host,
    /// A namespace with only `lo`.
    None,
    /// The namespace of that container.
    Container(String),
}

/// The reply to a creation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Created {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    /// The socket at which the container's standard streams are served.
    #[schema(value_type = String)]
    pub attach: PathBuf,
}

/// `POST /v1/containers/{name}/exec`: another command in the container's namespaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exec {
    pub command: Vec<String>,
    pub env: Vec<String>,
    #[schema(value_type = Option<String>)]
    pub workdir: Option<PathBuf>,
    pub tty: bool,
    pub interactive: bool,
}

/// The reply to an exec: attach, and the command starts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Attached {
    #[schema(value_type = String)]
    pub attach: PathBuf,
}

/// `POST /v1/containers/{name}/stop`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// Seconds between SIGTERM and SIGKILL; ten where absent.
    pub timeout_s: Option<u32>,
}

impl Stop {
    /// Where nothing is said.
    pub const TIMEOUT_S: u32 = 10;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "status")]
pub enum ContainerState {
    Created,
    Running { pid: i32 },
    Exited { code: i32 },
}

/// A row of `GET /v1/containers`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ContainerSummary {
    pub id: String,
    pub name: String,
    pub command: Vec<String>,
    pub state: ContainerState,
    /// Seconds since the epoch.
    pub created_s: u64,
    /// Seconds since the epoch at which it came into its state.
    pub since_s: u64,
    #[serde(with = "port_runs")]
    #[schema(value_type = Vec<PortRun>)]
    pub publish: Vec<PortMapping>,
    /// Names of the networks it is attached to.
    pub networks: Vec<String>,
    /// Of those that are aware of VLANs, which it belongs to there, in words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vlans: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its command has ended, and is started again in a while.
    #[serde(default)]
    pub restarting: bool,
    /// Why it reaches nobody on one of its networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<String>,
}

/// `GET /v1/containers/{name}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ContainerDetail {
    #[serde(flatten)]
    pub summary: ContainerSummary,
    pub hostname: String,
    pub network_mode: NetworkMode,
    /// What its commands may do, as capabilities(7) names it without `CAP_`.
    pub capabilities: Vec<String>,
    /// Nothing of the kernel and the agent is kept from it.
    pub privileged: bool,
    #[serde(default)]
    #[schema(value_type = String, example = "on-failure:3")]
    pub restart: RestartPolicy,
    /// How often the agent has started it again by itself.
    #[serde(default)]
    pub restarts: u32,
    /// What it is limited to, as it was asked for.
    #[serde(default)]
    pub memory: Option<u64>,
    #[serde(default)]
    pub nano_cpus: Option<u64>,
    #[serde(default)]
    pub pids: Option<u64>,
    pub endpoints: Vec<EndpointDetail>,
    /// The sandbox: a network namespace file that other programs may enter, while the container runs.
    #[schema(value_type = Option<String>)]
    pub sandbox: Option<PathBuf>,
    #[schema(value_type = String)]
    pub attach: PathBuf,
    #[schema(value_type = String)]
    pub log: PathBuf,
}
