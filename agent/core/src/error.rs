//! Why the agent refuses: one enum per operation, one line per refusal.

use std::path::PathBuf;

use agent_api::{ApiError, ErrorKind};
use ipnet::IpNet;

use crate::ipam::{AllocateAddress, ChooseSubnet, CreatePool, InvalidSubnet};
use crate::name::BadName;
use crate::record::{ContainerRecord, Phase};

/// Something was asked for by a name, id or prefix that fits nothing, or more than one thing.
#[derive(Debug, thiserror::Error)]
pub enum Find {
    #[error("no network {0:?}; `tapestry network ls` lists them")]
    NoNetwork(String),
    #[error("no container {0:?}; `tapestry ps -a` lists them")]
    NoContainer(String),
    #[error("no endpoint {0:?}; GET /v1/endpoints lists them")]
    NoEndpoint(String),
    #[error("{0:?} fits more than one id; write more digits")]
    Ambiguous(String),
}

impl From<Find> for ApiError {
    fn from(error: Find) -> Self {
        let kind = match error {
            Find::NoNetwork(_) | Find::NoContainer(_) | Find::NoEndpoint(_) => ErrorKind::NotFound,
            Find::Ambiguous(_) => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// `POST /v1/networks`.
#[derive(Debug, thiserror::Error)]
pub enum CreateNetwork {
    #[error("network name: {0}")]
    Name(#[from] BadName),
    #[error(
        "a network named {0:?} exists already; choose another name or remove it with `tapestry network rm {0}`"
    )]
    NameTaken(String),
    #[error("driver {0:?} makes no new networks; `bridge` does")]
    PredefinedDriver(&'static str),
    #[error(
        "driver \"overlay\" needs a cluster of hosts, and this agent is in none; join one with `tapestry cluster join`, or name the other hosts: -o vni=N -o remote=IP[,IP]"
    )]
    NoCluster,
    #[error(
        "-o remote= makes a VXLAN without a cluster; QUIC needs a cluster and its certificates"
    )]
    StaticQuic,
    #[error("-o remote= needs a -o vni=N too, the same on every host")]
    StaticVni,
    #[error(
        "-o remote= needs a --subnet too, the same on every host; --ip-range keeps their containers' addresses apart"
    )]
    StaticSubnet,
    #[error("{0} remotes are too many for a network without a cluster; give at most 128")]
    TooManyRemotes(usize),
    #[error("VNI {vni} is taken by network {name:?}; choose another one")]
    VniTaken { vni: u32, name: String },
    #[error(
        "MTU {mtu} does not fit the underlay, which leaves {most} bytes; leave --mtu out or raise the underlay's"
    )]
    MtuOverUnderlay { mtu: u16, most: u16 },
    #[error("etcd is out of reach; networks of the cluster are made when it is back")]
    OutOfStep,
    #[error(
        "QUIC does not run on this host, `tapestry doctor` says why; -o encap=vxlan makes the network without encryption"
    )]
    NoQuic,
    #[error("this host has no route to {0}; add one, or correct -o remote=")]
    NoRoute(std::net::IpAddr),
    #[error(
        "a network without addresses takes no subnet, gateway, range or --ipv6; leave them out"
    )]
    AddressesOfNone,
    #[error("two {0} subnets were given; a network has at most one of each family")]
    TwoSubnets(&'static str),
    #[error(
        "gateway {0} lies in none of the network's subnets; leave it out or give its subnet with --subnet"
    )]
    GatewayOutside(std::net::IpAddr),
    #[error("option {0:?} is unknown; {options}", options = crate::network::plan::options_shown())]
    UnknownOption(String),
    #[error("option {name}={value} is not understood; write {expected}")]
    OptionValue {
        name: String,
        value: String,
        expected: &'static str,
    },
    #[error("MTU {0} is out of range; take 576 to 65521, and at least 1280 with IPv6")]
    Mtu(u16),
    #[error(
        "subnet {subnet} overlaps what this host reaches by its route {route}; choose another one, or give --force to take it from there"
    )]
    HostRoute { subnet: IpNet, route: String },
    #[error(transparent)]
    Subnet(#[from] InvalidSubnet),
    #[error(transparent)]
    Pool(#[from] CreatePool),
    #[error(transparent)]
    NoSubnet(#[from] ChooseSubnet),
    #[error("network {name:?}: {why}")]
    Host { name: String, why: String },
}

impl From<CreateNetwork> for ApiError {
    fn from(error: CreateNetwork) -> Self {
        let kind = match &error {
            CreateNetwork::NameTaken(_) | CreateNetwork::VniTaken { .. } => ErrorKind::Conflict,
            CreateNetwork::HostRoute { .. }
            | CreateNetwork::Subnet(InvalidSubnet::Overlaps { .. }) => ErrorKind::Conflict,
            CreateNetwork::NoSubnet(_) => ErrorKind::Exhausted,
            CreateNetwork::NoCluster | CreateNetwork::NoQuic => ErrorKind::Unsupported,
            CreateNetwork::Host { .. } | CreateNetwork::OutOfStep => ErrorKind::Failed,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// `DELETE /v1/networks/{name}`.
#[derive(Debug, thiserror::Error)]
pub enum RemoveNetwork {
    #[error("network {0:?} is part of every agent and stays")]
    Predefined(String),
    #[error(
        "network {name:?} is patched to {other:?}; part them first with `tapestry network unpatch {name} {other}`"
    )]
    Patched { name: String, other: String },
    #[error("network {name:?} is in use by {users}; disconnect or remove them first")]
    InUse { name: String, users: String },
    #[error(
        "network {name:?} is in use on other hosts by {users}; disconnect or remove them first"
    )]
    InUseElsewhere { name: String, users: String },
    #[error("network {name:?} is the whole cluster's and cannot be removed now: {why}")]
    OutOfStep { name: String, why: String },
}

impl From<RemoveNetwork> for ApiError {
    fn from(error: RemoveNetwork) -> Self {
        Self::new(ErrorKind::Conflict, error.to_string())
    }
}

/// `POST` and `DELETE /v1/networks/{name}/patches`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Patch {
    #[error("network {0:?} cannot be patched to itself; name two networks")]
    Itself(String),
    #[error("network {0:?} has no ports of its own; patches join networks of driver bridge")]
    NoPorts(String),
    #[error(
        "network {0:?} spans hosts, where nothing keeps frames from going in circles; patches join networks of driver bridge"
    )]
    SpansHosts(String),
    #[error("{0} are joined already; one more patch would make a loop")]
    Loop(String),
    #[error(
        "subnet {subnet} of network {one:?} overlaps {taken} of network {other:?}; networks of one segment need subnets of their own"
    )]
    Overlap {
        one: String,
        subnet: IpNet,
        other: String,
        taken: IpNet,
    },
    #[error(
        "networks {one:?} and {other:?} have the same gateway MAC address {mac}; make one of them anew with another --gateway"
    )]
    GatewayMac {
        one: String,
        other: String,
        mac: switch_core::Mac,
    },
    #[error("network {0:?} is down; `tapestry doctor` says why")]
    Down(String),
    #[error(
        "networks {one:?} and {other:?} are not patched; `tapestry network inspect {one}` shows its patches"
    )]
    Apart { one: String, other: String },
    #[error("patching networks {one:?} and {other:?}: {why}")]
    Host {
        one: String,
        other: String,
        why: String,
    },
}

impl From<Patch> for ApiError {
    fn from(error: Patch) -> Self {
        let kind = match &error {
            Patch::Itself(_) | Patch::NoPorts(_) | Patch::SpansHosts(_) => ErrorKind::Invalid,
            Patch::Loop(_) | Patch::Overlap { .. } | Patch::GatewayMac { .. } => {
                ErrorKind::Conflict
            }
            Patch::Apart { .. } => ErrorKind::NotFound,
            Patch::Down(_) | Patch::Host { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// `POST /v1/endpoints`, and every attachment of a container.
#[derive(Debug, thiserror::Error)]
pub enum Attach {
    #[error("{what}: {source}")]
    Name { what: &'static str, source: BadName },
    #[error("{name:?} is on network {network:?} already; disconnect it first")]
    Twice { name: String, network: String },
    #[error("network {0:?} has no ports of its own; containers join it with `run --network {0}`")]
    NoPorts(String),
    #[error(transparent)]
    Address(#[from] AllocateAddress),
    #[error(
        "network {0:?} is of a cluster that this host is not in; join it again or remove the network"
    )]
    NoCluster(String),
    #[error(
        "etcd is out of reach, and this host has no such address of network {0:?} in reserve; try again when etcd is back"
    )]
    NoReserve(String),
    #[error("other hosts are taking the addresses of network {0:?} faster; try again")]
    AddressRace(String),
    #[error("network {0:?} has no IPv6 subnet; create it with --ipv6, or leave --ip6 out")]
    NoIpv6(String),
    #[error("network {0:?} has no IPv4 subnet; leave --ip out")]
    NoIpv4(String),
    #[error("{0}")]
    Mac(switch_core::ParseMac),
    #[error(
        "MAC address {0} cannot belong to a container; take a unicast address such as 02:42:ac:11:00:02"
    )]
    MacNotStation(switch_core::Mac),
    #[error(
        "MAC address {mac} is taken by {owner:?} on network {network:?}; leave --mac-address out to get a free one"
    )]
    MacTaken {
        mac: switch_core::Mac,
        owner: String,
        network: String,
    },
    #[error("link name {0:?} is not usable; take 1 to 15 letters, digits, '_', '.' or '-'")]
    LinkName(String),
    #[error("{0}")]
    Sandbox(String),
    #[error("{} is the host's own network namespace; give that of a sandbox", .0.display())]
    OwnSandbox(PathBuf),
    #[error("attaching {name:?} to network {network:?}: {why}")]
    Host {
        name: String,
        network: String,
        why: String,
    },
}

impl From<Attach> for ApiError {
    fn from(error: Attach) -> Self {
        let kind = match &error {
            Attach::Twice { .. } | Attach::MacTaken { .. } => ErrorKind::Conflict,
            Attach::Address(AllocateAddress::Exhausted { .. }) => ErrorKind::Exhausted,
            Attach::Address(AllocateAddress::Taken { .. }) => ErrorKind::Conflict,
            Attach::Host { .. } | Attach::NoReserve(_) | Attach::AddressRace(_) => {
                ErrorKind::Failed
            }
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// Everything that is asked of containers.
#[derive(Debug, thiserror::Error)]
pub enum Contain {
    #[error("{what}: {source}")]
    Name { what: &'static str, source: BadName },
    #[error(
        "a container named {0:?} exists already; choose another --name or remove it with `tapestry rm {0}`"
    )]
    NameTaken(String),
    #[error("no command was given; write it after the options: tapestry run -- COMMAND")]
    NoCommand,
    #[error("{0:?} is not KEY=VALUE; write -e KEY=VALUE")]
    Env(String),
    #[error("{0}")]
    Capability(String),
    #[error("{0:?} is no domain to search; write --dns-search example.com, or . for none")]
    SearchDomain(String),
    #[error("{0:?} is no option of resolv.conf; write --dns-option ndots:2")]
    DnsOption(String),
    #[error("--{option} needs a network of its own; it does not go with --network {mode}")]
    NotWithMode { option: &'static str, mode: String },
    #[error("network {0:?} is internal: nothing outside reaches it, so no port can be published")]
    PublishOnInternal(String),
    #[error(
        "host port {0} is published by container {1:?} already; choose another or stop that container"
    )]
    Published(String, String),
    #[error("host port {mapping} cannot be published: {why}")]
    Publish { mapping: String, why: String },
    #[error("rootfs {}: {why}", path.display())]
    Rootfs { path: PathBuf, why: String },
    #[error(
        "container {name:?} has ended with status {code}; start it again with `tapestry start {name}`"
    )]
    Ended { name: String, code: i32 },
    #[error("container {0:?} was made and not started yet; start it with `tapestry start {0}`")]
    NotStarted(String),
    #[error("container {0:?} was started already")]
    Started(String),
    #[error("container {0:?} is running; stop it first or remove it with `tapestry rm -f {0}`")]
    Running(String),
    #[error(
        "container {0:?} shares another namespace and has no endpoints of its own; only --network NETWORK containers connect"
    )]
    NoSandbox(String),
    #[error("container {container:?} is not on network {network:?}")]
    NotOn { container: String, network: String },
    #[error("container {name:?}: {why}")]
    CommandNotFound { name: String, why: String },
    #[error("container {name:?}: {why}")]
    CommandNotExecutable { name: String, why: String },
    #[error("container {name:?}: {why}")]
    Host { name: String, why: String },
}

impl Contain {
    /// Why nothing can be done in a container that does not run.
    pub fn not_running(record: &ContainerRecord) -> Self {
        let name = record.name.clone();
        match record.phase {
            Phase::Exited(code) => Self::Ended { name, code },
            Phase::Created | Phase::Running => Self::NotStarted(name),
        }
    }
}

impl From<Contain> for ApiError {
    fn from(error: Contain) -> Self {
        let kind = match &error {
            Contain::NameTaken(_)
            | Contain::Published(..)
            | Contain::Publish { .. }
            | Contain::Ended { .. }
            | Contain::NotStarted(_)
            | Contain::Started(_)
            | Contain::Running(_) => ErrorKind::Conflict,
            Contain::NotOn { .. } => ErrorKind::NotFound,
            Contain::CommandNotFound { .. } => ErrorKind::CommandNotFound,
            Contain::CommandNotExecutable { .. } => ErrorKind::CommandNotExecutable,
            Contain::Host { .. } => ErrorKind::Failed,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}
