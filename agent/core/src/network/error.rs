//! Why networks are not made or removed.

use std::net::IpAddr;

use agent_api::{ApiError, ErrorKind};
use ipnet::IpNet;

use crate::ipam::{ChooseSubnet, CreatePool, InvalidSubnet};
use crate::name::{BadId, BadName};

/// `POST /v1/networks`.
#[derive(Debug, thiserror::Error)]
pub enum CreateNetwork {
    #[error("network name: {0}")]
    Name(#[from] BadName),
    #[error(
        "a network named {0:?} exists already; choose another name or remove it with `tapestry network rm {0}`"
    )]
    NameTaken(String),
    #[error("{0}")]
    Id(#[from] BadId),
    #[error("there is a network {0} already")]
    IdTaken(String),
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
    #[error("-o {0}= is of VXLAN; leave it out, or add -o encap=vxlan")]
    VxlanOnly(&'static str),
    #[error(
        "-o local= is of one host, and this network would be the cluster's; leave it out, or name the other hosts with -o remote="
    )]
    LocalOfCluster,
    #[error("-o local={local} and the remote {remote} are of two families; an underlay has one")]
    LocalFamily { local: IpAddr, remote: IpAddr },
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
        "VNI {vni} was that of a network that is removed, and rests for {for_s} s more{}; choose another one",
        waits(awaited)
    )]
    VniResting {
        vni: u32,
        for_s: u64,
        /// Hosts by name.
        awaited: String,
    },
    #[error("every VNI is taken or rests; remove unused networks")]
    NoVni,
    /// For whoever lets records in.
    #[error("this is no network of a cluster: {0}")]
    Record(String),
    #[error("other hosts are making networks faster; try again")]
    Race,
    #[error("{0}; try again when it answers")]
    Store(String),
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
    NoRoute(IpAddr),
    #[error(
        "a network without addresses takes no subnet, gateway, range or --ipv6; leave them out"
    )]
    AddressesOfNone,
    #[error("two {0} subnets were given; a network has at most one of each family")]
    TwoSubnets(&'static str),
    #[error(
        "gateway {0} lies in none of the network's subnets; leave it out or give its subnet with --subnet"
    )]
    GatewayOutside(IpAddr),
    #[error("--aux-address {name}={address}: {why}; write NAME=ADDRESS, each address once")]
    AuxAddress {
        name: String,
        address: IpAddr,
        why: &'static str,
    },
    #[error("option {0:?} is unknown; {options}", options = super::option_list::options_shown())]
    UnknownOption(String),
    #[error("option {name:?} is of {drivers} networks; leave it out, or give --driver")]
    OptionOfDriver { name: String, drivers: &'static str },
    #[error("{0}")]
    Uplink(String),
    #[error("option {name}={value} is Docker's and not taken: {why}")]
    DockerOption {
        name: String,
        value: String,
        why: &'static str,
    },
    #[error("option {name}={value} is not understood; write {expected}")]
    OptionValue {
        name: String,
        value: String,
        expected: &'static str,
    },
    #[error(
        "a transparent network passes on whatever comes and does not snoop; leave out -o snooping= or -o transparent=true"
    )]
    SnoopingTransparent,
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

impl CreateNetwork {
    /// Whether the same may be done later.
    pub const fn is_of_store(&self) -> bool {
        matches!(self, Self::OutOfStep | Self::Race | Self::Store(_))
    }
}

impl From<CreateNetwork> for ApiError {
    fn from(error: CreateNetwork) -> Self {
        let kind = match &error {
            CreateNetwork::IdTaken(_) => ErrorKind::Conflict,
            CreateNetwork::NameTaken(_)
            | CreateNetwork::VniTaken { .. }
            | CreateNetwork::VniResting { .. } => ErrorKind::Conflict,
            CreateNetwork::HostRoute { .. }
            | CreateNetwork::Subnet(InvalidSubnet::Overlaps { .. }) => ErrorKind::Conflict,
            CreateNetwork::NoSubnet(_) | CreateNetwork::NoVni => ErrorKind::Exhausted,
            CreateNetwork::NoCluster | CreateNetwork::NoQuic => ErrorKind::Unsupported,
            CreateNetwork::Host { .. }
            | CreateNetwork::Uplink(_)
            | CreateNetwork::OutOfStep
            | CreateNetwork::Race
            | CreateNetwork::Store(_) => ErrorKind::Failed,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// What a VNI waits for beside the time.
fn waits(awaited: &str) -> String {
    match awaited {
        "" => String::new(),
        hosts => format!(
            ", and until {hosts} was heard of since (`tapestry cluster rm` takes out a host that is gone for good)"
        ),
    }
}

/// `PATCH /v1/networks/{name}`.
#[derive(Debug, thiserror::Error)]
pub enum RenameNetwork {
    #[error("network name: {0}")]
    Name(#[from] BadName),
    #[error("a network named {0:?} exists already; choose another name")]
    Taken(String),
    #[error("network {0:?} is part of every agent and keeps its name")]
    Predefined(String),
    #[error("network {0:?} is the whole cluster's and keeps its name")]
    Shared(String),
    #[error(
        "network {name:?} is in use by {users}, which know it by its name; disconnect or remove them first"
    )]
    InUse { name: String, users: String },
    #[error("network {name:?} keeps its name: {why}")]
    Host { name: String, why: String },
}

impl From<RenameNetwork> for ApiError {
    fn from(error: RenameNetwork) -> Self {
        let kind = match &error {
            RenameNetwork::Name(_) => ErrorKind::Invalid,
            RenameNetwork::Host { .. } => ErrorKind::Failed,
            _ => ErrorKind::Conflict,
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
    /// What stays is put right at the next start of the agent.
    #[error("network {name:?} was removed, but not all of it: {}", join(left))]
    Teardown { name: String, left: Vec<Teardown> },
}

/// What of a network could not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum Teardown {
    #[error("the packet filter keeps its rules ({0})")]
    Rules(String),
    #[error("its record stays ({0})")]
    Record(String),
}

fn join(left: &[Teardown]) -> String {
    let each: Vec<_> = left.iter().map(ToString::to_string).collect();
    each.join("; ")
}

impl From<RemoveNetwork> for ApiError {
    fn from(error: RemoveNetwork) -> Self {
        let kind = match &error {
            RemoveNetwork::Teardown { .. } => ErrorKind::Failed,
            _ => ErrorKind::Conflict,
        };
        Self::new(kind, error.to_string())
    }
}
