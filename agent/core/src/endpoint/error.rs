//! Why a sandbox does not get its place on a network.

use std::path::PathBuf;

use agent_api::{ApiError, BadImpairment, BadRates, ErrorKind};
use switch_core::{Mac, ParseMac};

use crate::ipam::AllocateAddress;
use crate::name::{BadId, BadName};
use crate::network::BadVlan;
use crate::publish::PublishPorts;

/// `POST /v1/endpoints`, and every attachment of a container.
#[derive(Debug, thiserror::Error)]
pub enum Attach {
    #[error("{what}: {source}")]
    Name { what: &'static str, source: BadName },
    #[error("{name:?} is on network {network:?} already; disconnect it first")]
    Twice { name: String, network: String },
    #[error("{0}")]
    Id(#[from] BadId),
    #[error("there is an endpoint {0} already")]
    IdTaken(String),
    #[error("only an endpoint without a sandbox can have an id of the caller's; leave out either")]
    IdOfSandbox,
    #[error(
        "the link of an endpoint without a sandbox has a name of its own, which the answer tells; leave `link` out"
    )]
    LinkHandedOver,
    #[error("the endpoint is a container's, and follows that; act on the container")]
    OfContainer,
    #[error(transparent)]
    Publish(#[from] PublishPorts),
    #[error("network {0:?} is being removed; attach to another one")]
    Gone(String),
    #[error(
        "network {0:?} was removed from the cluster while this host was away; attach to another one"
    )]
    CutOff(String),
    #[error("network {0:?} has no ports of its own; containers join it with `run --network {0}`")]
    NoPorts(String),
    #[error(
        "network {network:?} has its NIC's MAC for one container, and {other:?} is on it; disconnect that, or make the network with another macvlan_mode"
    )]
    Passthru { network: String, other: String },
    #[error(
        "network {0:?} has no LAN with a DHCP server; --ip dhcp is for networks with a parent or an uplink, and an IPv4 subnet"
    )]
    NoLan(String),
    #[error("no address for {name:?} on network {network:?}: {why}")]
    Lease {
        name: String,
        network: String,
        why: String,
    },
    #[error(transparent)]
    Address(#[from] AllocateAddress),
    #[error(
        "network {0:?} is of a cluster that this host is not in; join it again or remove the network"
    )]
    NoCluster(String),
    #[error(
        "the cluster's store is out of reach, and {wish} of network {network:?} is in no block of this host; try again when the store is back"
    )]
    NoBlock { network: String, wish: String },
    #[error(
        "no address of network {network:?} is free: {holders}; remove containers or use a larger subnet"
    )]
    RangeFull { network: String, holders: String },
    #[error(
        "address {address} is in a block of {host}, which {why}; choose another one, or run the container there"
    )]
    OfAnother {
        address: std::net::IpAddr,
        host: String,
        why: &'static str,
    },
    #[error("other hosts are taking the addresses of network {0:?} faster; try again")]
    AddressRace(String),
    #[error("network {0:?} has no IPv6 subnet; create it with --ipv6, or leave --ip6 out")]
    NoIpv6(String),
    #[error("network {0:?} has no IPv4 subnet; leave --ip out")]
    NoIpv4(String),
    #[error("{0}")]
    Mac(ParseMac),
    #[error(
        "MAC address {0} cannot belong to a container; take a unicast address such as 02:42:ac:11:00:02"
    )]
    MacNotStation(Mac),
    #[error(
        "MAC address {mac} is taken by {owner:?} on network {network:?}; leave --mac-address out to get a free one"
    )]
    MacTaken {
        mac: Mac,
        owner: String,
        network: String,
    },
    #[error("link name {0:?} is not usable; take 1 to 15 letters, digits, '_', '.' or '-'")]
    LinkName(String),
    #[error(transparent)]
    Impairments(#[from] BadImpairment),
    #[error(transparent)]
    Vlan(#[from] BadVlan),
    #[error(transparent)]
    Rates(#[from] BadRates),
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
            Attach::Publish(error) => error.kind(),
            Attach::IdTaken(_) | Attach::OfContainer => ErrorKind::Conflict,
            Attach::Twice { .. } | Attach::MacTaken { .. } | Attach::Gone(_) => ErrorKind::Conflict,
            Attach::Address(AllocateAddress::Exhausted { .. }) | Attach::RangeFull { .. } => {
                ErrorKind::Exhausted
            }
            Attach::Address(AllocateAddress::Taken { .. }) | Attach::OfAnother { .. } => {
                ErrorKind::Conflict
            }
            Attach::Host { .. } | Attach::NoBlock { .. } | Attach::AddressRace(_) => {
                ErrorKind::Failed
            }
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}
