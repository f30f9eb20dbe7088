//! What the agent has in hand: the records, and beside each what it made of them in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use agent_api::NetworkMode;
use agent_core::endpoint::Past;
use overlay_core::{Directory, HostId};
use switch_core::{Bridge, Mac, PortCounts, PortId};

use super::endpoint::sandbox_of;
use super::follow::RemotePlace;
use super::overlay::{TunnelPort, Tunnels};
use super::publishing::Publishing;
use crate::edge::EdgeHandle;
use crate::firewall::Service;
use crate::ipam::Pools;
use crate::netlink::{NetnsId, netns_id};
use crate::record::{
    ContainerRecord, EndpointRecord, NetworkRecord, Owner, PatchRecord, SettingsRecord,
};

/// Everything, by id.
#[derive(Default)]
pub(super) struct State {
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) containers: BTreeMap<String, Container>,
    /// Which networks are joined; they make no loops.
    pub(super) patches: BTreeSet<PatchRecord>,
    pub(super) tunnels: Tunnels,
    /// What of the underlay the packet filter was last told.
    pub(super) underlay: UnderlayRules,
    /// Whether the agent has taken leave of the host: what goes then must not bring rules back.
    pub(super) has_left: bool,
    /// What the host's settings were.
    pub(super) settings: SettingsRecord,
    /// Where the cluster's endpoints are; absent without a cluster.
    pub(super) directory: Option<Directory>,
}

impl State {
    /// The endpoints that fit, each with its network's id before its own.
    pub(super) fn endpoint_ids(&self, fits: impl Fn(&Endpoint) -> bool) -> Vec<(String, String)> {
        let networks = self.networks.values();
        let fitting = networks.flat_map(|network| {
            let endpoints = network.endpoints.values().filter(|endpoint| fits(endpoint));
            endpoints.map(|endpoint| (network.record.id.clone(), endpoint.record.id.clone()))
        });
        fitting.collect()
    }

    /// Whose namespace it is: that of a container, or one that somebody else made.
    pub(super) fn owner_of(&self, sandbox: NetnsId) -> Owner {
        let has_it = |container: &&Container| {
            let shares = matches!(container.record.create.network, NetworkMode::Container(_));
            let pid = container.init_pid.filter(|_| !shares);
            pid.is_some_and(|pid| leads_to(&sandbox_of(pid), sandbox))
        };
        match self.containers.values().find(has_it) {
            Some(container) => Owner::Container(container.record.id.clone()),
            None => Owner::Sandbox(sandbox),
        }
    }

    /// Whose namespace the path leads to, or did when it was used to attach it.
    pub(super) fn owner_at(&self, path: &Path) -> Option<Owner> {
        let endpoints = || {
            self.networks
                .values()
                .flat_map(|network| network.endpoints.values())
        };
        let is_known = |owner: &Owner| endpoints().any(|endpoint| endpoint.record.owner == *owner);
        let there = netns_id(path).ok().map(|id| self.owner_of(id));
        there.filter(is_known).or_else(|| {
            let came_by = |endpoint: &&Endpoint| endpoint.record.sandbox.as_deref() == Some(path);
            let endpoint = endpoints().find(came_by)?;
            Some(endpoint.record.owner.clone())
        })
    }
}

pub(super) fn leads_to(path: &Path, sandbox: NetnsId) -> bool {
    netns_id(path).is_ok_and(|id| id == sandbox)
}

/// A network and its parts on this host.
pub(super) struct Network {
    pub(super) record: NetworkRecord,
    pub(super) pools: Pools,
    pub(super) past: Past,
    /// Absent for the drivers `host` and `null`, which have no ports.
    pub(super) segment: Option<Segment>,
    /// Why there is no host port, where there should be one.
    pub(super) closed: Option<String>,
    pub(super) endpoints: BTreeMap<String, Endpoint>,
}

/// What concerns the packet filter of the ways between hosts.
#[derive(Default, PartialEq, Eq)]
pub(super) struct UnderlayRules {
    /// Where this host's tunnels receive.
    pub(super) tunnels: BTreeSet<SocketAddr>,
    /// Where the cluster's hosts listen to each other.
    pub(super) services: BTreeSet<Service>,
}

impl Network {
    /// Whether it runs without the host port that it should have.
    pub(super) fn is_closed(&self) -> bool {
        let segment = self.segment.as_ref();
        self.record.has_host_port() && segment.is_some_and(|segment| segment.host.is_none())
    }

    pub(super) fn endpoints_of(&self, owner: &Owner) -> impl Iterator<Item = &Endpoint> {
        self.endpoints
            .values()
            .filter(|endpoint| endpoint.record.owner == *owner)
    }
}

/// The running L2 segment: a bridge, its edge, and its way to the host.
pub(super) struct Segment {
    pub(super) bridge: Arc<Bridge>,
    pub(super) gateway_mac: Mac,
    pub(super) edge: EdgeHandle,
    pub(super) edge_port: PortId,
    pub(super) host: Option<HostPort>,
    /// By the remote host's address.
    pub(super) tunnels: BTreeMap<IpAddr, TunnelPort>,
    /// Patches to other networks, by those networks' ids.
    pub(super) patches: BTreeMap<String, PatchEnd>,
    /// The cluster's hosts that have endpoints in the network, and where their tunnels end.
    pub(super) hosts: BTreeMap<HostId, IpAddr>,
    /// Their endpoints.
    pub(super) remotes: BTreeMap<Mac, RemotePlace>,
    /// What was counted at ports that are gone.
    pub(super) gone: PortCounts,
}

/// The TAP in the host's namespace that carries the gateway's addresses.
pub(super) struct HostPort {
    pub(super) link: String,
    pub(super) port: PortId,
}

/// A network's end of a patch.
pub(super) struct PatchEnd {
    pub(super) port: PortId,
    /// The name of the network at the other end.
    pub(super) leads_to: String,
}

/// An endpoint, attached while it has a port.
pub(super) struct Endpoint {
    pub(super) record: EndpointRecord,
    pub(super) port: Option<PortId>,
    /// The link's name inside the sandbox.
    pub(super) link: String,
    /// The TAP behind the port, beside the switch's hold on it.
    pub(super) tap: Option<OwnedFd>,
}

/// A container and what the agent holds for it.
pub(super) struct Container {
    pub(super) record: ContainerRecord,
    /// The command's process, the sandbox's first, as the agent's process namespace numbers it.
    pub(super) init_pid: Option<i32>,
    pub(super) published: Publishing,
}
