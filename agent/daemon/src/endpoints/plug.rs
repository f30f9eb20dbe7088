//! Plugging: the TAP in the sandbox, its port on the bridge, its names at the edge.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use agent_core::endpoint::Attach;
use agent_core::record::{EndpointRecord, NetnsId, NetworkRecord, Owner};
use agent_host::netlink::{
    LinkName, Neighbor, Netlink, NetlinkError, SandboxLink, configure_sandbox,
};
use agent_host::{Netns, check_open_files};
use switch_core::{Mac, PortId};
use switch_io::{FramePort, set_persistent};

use super::stray::alias;
use super::{Endpoints, Place, hand_over};
use crate::edge::{EdgeHost, Registration};
use crate::networks::{Segment, attach_tap, open_tap};
use crate::seats::Plug;

impl Endpoints {
    /// Makes the port and the link of an endpoint whose addresses are its own already; they belong to its seat at once. The
    /// link is made in `netns`, which is the `sandbox` unless somebody moved it. Nothing is read from it before
    /// [`Endpoints::listen_to`]. Returns the link's name.
    pub(super) fn plug(
        &self,
        place: &Place,
        record: &EndpointRecord,
        netns: &Netns,
        sandbox: NetnsId,
    ) -> Result<String, Attach> {
        let network = &place.record;
        let failed = |why: &dyn std::fmt::Display| host_failure(network, record, why);
        let tap = netns
            .run(|| open_tap(network.tap_driver(), &tap_name(&record.id)))
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        check_open_files(tap.port.as_fd()).map_err(|error| failed(&error))?;
        let ifindex = tap.ifindex;
        let mut plug = self.occupy(place, record, tap.port, Some(sandbox))?;
        let configured = match is_handed_over(record, netns) {
            true => hand_over::prepare(network, record, ifindex),
            false => configure(network, record, ifindex, netns),
        };
        plug.link = configured.map_err(|error| failed(&error))?;
        plug.index = Some(ifindex);
        self.keep(place, record, &plug)
            .map_err(|error| failed(&error))?;
        Ok(plug.link)
    }

    /// Gives a TAP its port on the bridge, with its MAC and addresses, and its names at the edge.
    pub(super) fn occupy(
        &self,
        place: &Place,
        record: &EndpointRecord,
        tap: Box<dyn FramePort>,
        sandbox: Option<NetnsId>,
    ) -> Result<Plug, Attach> {
        let network = &place.record;
        let failed = |why: &dyn std::fmt::Display| host_failure(network, record, why);
        let Some(segment) = &place.segment else {
            return Err(Attach::NoPorts(network.name.clone()));
        };
        let own = tap.as_fd().try_clone_to_owned();
        let own = Arc::new(own.map_err(|error| failed(&error))?);
        let config = network.endpoint_port_config(record);
        let port = self
            .ground
            .switch
            .attach_port(&segment.bridge, tap, config)
            .map_err(|error| failed(&error))?;
        let plug = Plug {
            port: Some(port),
            link: String::new(),
            tap: Some(own),
            sandbox,
            ..Plug::default()
        };
        let (plug, registration) = self.register(place, segment, record, (port, plug))?;
        registration.wait();
        Ok(plug)
    }

    /// What has a port gets its seat, with its MAC and addresses, and its names at the edge.
    pub(super) fn register(
        &self,
        place: &Place,
        segment: &Segment,
        record: &EndpointRecord,
        (port, mut plug): (PortId, Plug),
    ) -> Result<(Plug, Registration), Attach> {
        let network = &place.record;
        let failed = |why: &dyn std::fmt::Display| host_failure(network, record, why);
        place.seats.plug(&record.id, plug.clone());
        plug.impairment = self.impair(port, record).map_err(|error| failed(&error))?;
        place.seats.impair(&record.id, plug.impairment.clone());
        plug.rate = self
            .limit(network, port, record)
            .map_err(|error| failed(&error))?;
        place.seats.limit(&record.id, plug.rate.clone());
        let (bridge, edge) = (&segment.bridge, &segment.edge);
        bridge.register_endpoint(port, Mac::new(record.mac), &record.addresses());
        self.networks.admit(place, record);
        self.leases
            .resume(&self.ground.runtime, &self.networks, record);
        let registration = edge
            .begin_insert(&record.id, edge_host(network, record, port))
            .map_err(|error| failed(&error))?;
        Ok((plug, registration))
    }

    /// Lets the link of an endpoint outlive the agent, which is plugged in then.
    pub(super) fn keep(
        &self,
        place: &Place,
        record: &EndpointRecord,
        plug: &Plug,
    ) -> io::Result<()> {
        if let Some(tap) = &plug.tap {
            set_persistent(tap, true)?;
            self.ground.held.hold(&held_name(&record.id), tap);
        }
        plug_in(place, record, plug)
    }

    /// Reads the endpoint's port from now on, where it has one.
    pub(super) fn listen_to(&self, place: &Place, record: &EndpointRecord) -> Result<(), Attach> {
        let port = place.seats.port(&record.id);
        self.networks.settle_acl(&place.record.id);
        let listening = port.map_or(Ok(()), |port| self.ground.switch.listen(port));
        self.networks.settle_mirrors(&place.record.id);
        self.networks.settle_stations(&place.record.id);
        listening.map_err(|error| host_failure(&place.record, record, &error))
    }

    /// Reads the ports of all endpoints, and does `first` as soon as no other agent does. One that cannot be read is as good as gone.
    pub(crate) fn listen(&self, first: impl FnOnce()) {
        let places = self.networks.places();
        let mut ports = BTreeMap::new();
        for place in &places {
            self.networks.settle_acl(&place.record.id);
            self.networks.settle_stations(&place.record.id);
            for (record, plug) in place.seats.plugged() {
                ports.extend(plug.port.map(|port| (port, (place, record))));
            }
        }
        let ids: Vec<_> = ports.keys().copied().collect();
        self.ground.held.take_links();
        first();
        for (port, why) in self.ground.switch.listen_all(&ids) {
            if let Some((place, record)) = ports.get(&port) {
                let failure = host_failure(&place.record, record, &why);
                self.ground.warn(failure.to_string());
            }
        }
        for place in &places {
            self.networks.settle_mirrors(&place.record.id);
        }
    }
}

/// The seat has the plug, which is pulled where the record says so.
pub(super) fn plug_in(place: &Place, record: &EndpointRecord, plug: &Plug) -> io::Result<()> {
    if let Some(segment) = place.segment.as_ref().filter(|_| record.down) {
        plug.pull(segment)?;
    }
    place.seats.plug(&record.id, plug.clone());
    Ok(())
}

/// Attaches to the link that an agent before left in the namespace, if it was made to its end; and the link's name.
pub(super) fn left_tap(
    network: &NetworkRecord,
    record: &EndpointRecord,
    netns: &Netns,
) -> Option<(Box<dyn FramePort>, String)> {
    record.link.as_ref()?;
    let link = match is_handed_over(record, netns) {
        true => tap_name(&record.id),
        false => links_of(record, netns).ok()?.into_iter().next()?,
    };
    let attached = netns.run(|| attach_tap(network.tap_driver(), &link));
    Some((attached.ok()?.ok()?, link))
}

/// Deletes what an agent before left of the endpoint's link: one that was not made to its end, or that has no end any more.
pub(super) fn bury_link(record: &EndpointRecord, netns: &Netns) {
    let inside = match netns.is_own() {
        true => Ok(()),
        false => bury_all(record, netns),
    };
    // An engine gives its links back when a sandbox ends, also while no agent runs.
    let buried = match record.owner {
        Owner::Engine(_) => inside.and(hand_over::bury(&tap_name(&record.id))),
        Owner::Container(_) | Owner::Sandbox(_) => inside,
    };
    if let Err(error) = buried {
        tracing::warn!(endpoint = record.name, %error, "a dead link may be in the way");
    }
}

fn bury_all(record: &EndpointRecord, netns: &Netns) -> Result<(), NetlinkError> {
    let dead = links_of(record, netns)?;
    let mut inside = Netlink::open_in(netns)?;
    dead.iter().try_for_each(|link| inside.delete_link(link))
}

/// What TAPs in the namespace are the endpoint's, by MAC or, before it has that, by name.
fn links_of(record: &EndpointRecord, netns: &Netns) -> Result<Vec<String>, NetlinkError> {
    let links = Netlink::open_in(netns)?.links()?.into_iter();
    let name = tap_name(&record.id);
    let own = links.filter(|link| {
        let is_own = link.mac == Some(record.mac) || link.name == name;
        is_own && link.kind.as_deref() == Some("tun")
    });
    Ok(own.map(|link| link.name).collect())
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
        alias: Some(alias(&record.id)),
    };
    configure_sandbox(netns, &link).map(|done| done.name)
}

/// The gateway, whose MAC is the network's for good.
fn gateway_neighbors(network: &NetworkRecord) -> Vec<Neighbor> {
    let mac = network.gateway_mac().octets();
    let addresses = network.own_gateways().into_iter();
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

/// By which the guardian holds an endpoint's TAP.
pub(super) fn held_name(endpoint_id: &str) -> String {
    format!("tap/{endpoint_id}")
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
