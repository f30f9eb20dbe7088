//! Plugging: the TAP in the sandbox, its port on the bridge, its names at the edge.

use std::net::IpAddr;
use std::sync::Arc;

use agent_core::endpoint::Attach;
use agent_core::record::{EndpointRecord, NetnsId, NetworkRecord, Owner};
use agent_host::Netns;
use agent_host::netlink::{
    LinkName, Neighbor, Netlink, NetlinkError, SandboxLink, configure_sandbox,
};
use switch_core::{Mac, PortId};

use super::{Endpoints, Place, hand_over};
use crate::edge::EdgeHost;
use crate::networks::open_tap;
use crate::seats::Plug;

impl Endpoints {
    /// Makes the port and the link of an endpoint whose addresses are its own already; they belong to its seat at once. The
    /// link is made in `netns`, which is the `sandbox` unless somebody moved it. Returns the link's name.
    pub(super) fn plug(
        &self,
        place: &Place,
        record: &EndpointRecord,
        netns: &Netns,
        sandbox: NetnsId,
    ) -> Result<String, Attach> {
        let network = &place.record;
        let failed = |why: &dyn std::fmt::Display| host_failure(network, record, why);
        let Some(segment) = &place.segment else {
            return Err(Attach::NoPorts(network.name.clone()));
        };
        let tap = netns
            .run(|| open_tap(network.tap_driver(), &tap_name(&record.id)))
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        let ifindex = tap.ifindex;
        let own = tap.port.as_fd().try_clone_to_owned();
        let own = Arc::new(own.map_err(|error| failed(&error))?);
        let config = network.endpoint_port_config(record);
        let port = self
            .ground
            .switch
            .add_port(&segment.bridge, tap.port, config)
            .map_err(|error| failed(&error))?;
        let mut plug = Plug {
            port: Some(port),
            link: String::new(),
            tap: Some(own),
            sandbox: Some(sandbox),
        };
        place.seats.plug(&record.id, plug.clone());
        let addresses = record.addresses();
        let bridge = &segment.bridge;
        bridge.register_endpoint(port, Mac::new(record.mac), &addresses);
        segment
            .edge
            .insert(&record.id, edge_host(network, record, port))
            .map_err(|error| failed(&error))?;
        let configured = match is_handed_over(record, netns) {
            true => hand_over::prepare(network, record, ifindex),
            false => configure(network, record, ifindex, netns),
        };
        plug.link = configured.map_err(|error| failed(&error))?;
        if record.down {
            plug.pull(segment).map_err(|error| failed(&error))?;
        }
        let link = plug.link.clone();
        place.seats.plug(&record.id, plug);
        Ok(link)
    }
}

/// Deletes the link that an agent which was killed left in a sandbox: the kernel takes its time to close a dead process's
/// rings, and with them the TAP.
pub(super) fn bury_link(record: &EndpointRecord, netns: &Netns) {
    let buried = match is_handed_over(record, netns) {
        true => hand_over::bury(&tap_name(&record.id)),
        false => bury_by_mac(record, netns),
    };
    if let Err(error) = buried {
        tracing::warn!(endpoint = record.name, %error, "a dead link may be in the way");
    }
}

fn bury_by_mac(record: &EndpointRecord, netns: &Netns) -> Result<(), NetlinkError> {
    Netlink::open_in(netns).and_then(|mut inside| {
        let links = inside.links()?;
        let mut dead = links
            .iter()
            .filter(|link| link.mac == Some(record.mac) && link.kind.as_deref() == Some("tun"));
        dead.try_for_each(|link| inside.delete_link(&link.name))
    })
}

/// Whether it is an engine that configures the link, once it has taken it out of the agent's namespace.
fn is_handed_over(record: &EndpointRecord, netns: &Netns) -> bool {
    matches!(record.owner, Owner::Engine(_)) && netns.is_own()
}

fn configure(
    network: &NetworkRecord,
    record: &EndpointRecord,
    from_index: u32,
    netns: &Netns,
) -> Result<String, NetlinkError> {
    let subnets = &network.subnets;
    let link = SandboxLink {
        from_index,
        name: record
            .link
            .clone()
            .map_or(LinkName::FirstFree, LinkName::Exactly),
        mac: record.mac,
        mtu: u32::from(network.mtu),
        tx_queue_length: None,
        addresses: record
            .addresses()
            .into_iter()
            .filter_map(|address| network.on_link(address))
            .collect(),
        gateways: if network.internal {
            Vec::new()
        } else {
            network.gateway_addresses()
        },
        gateway_rank: record.rank,
        neighbors: gateway_neighbors(network),
        routes: Vec::new(),
        // Where there are no addresses, those who run a protocol of their own get what the kernel makes for it.
        ipv6_link_local: network.subnet_v6().is_some()
            || subnets.is_empty()
            || network.allows_routers(),
    };
    configure_sandbox(netns, &link).map(|done| done.name)
}

/// The gateway, whose MAC is the network's for good.
fn gateway_neighbors(network: &NetworkRecord) -> Vec<Neighbor> {
    let mac = network.gateway_mac().octets();
    let addresses = network.gateway_addresses().into_iter();
    addresses
        .map(|address: IpAddr| Neighbor { address, mac })
        .collect()
}

pub(super) fn edge_host(
    network: &NetworkRecord,
    record: &EndpointRecord,
    port: PortId,
) -> EdgeHost {
    EdgeHost {
        port: Some(port),
        mac: Mac::new(record.mac),
        dhcp: record.lease(network),
        names: record.names(),
        dns: record.dns.clone(),
    }
}

fn tap_name(endpoint_id: &str) -> String {
    format!("tap{}", endpoint_id.get(..8).unwrap_or(endpoint_id))
}

pub(super) fn host_failure(
    network: &NetworkRecord,
    record: &EndpointRecord,
    why: &dyn std::fmt::Display,
) -> Attach {
    Attach::Host {
        name: record.name.clone(),
        network: network.name.clone(),
        why: why.to_string(),
    }
}
