//! Requests as the kernel wants them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::neighbour_table::{
    NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::link::LinkSettings;
use super::sandbox::{Neighbor, Route};
use super::socket::Request;

pub(super) fn set_request(index: u32, to: &LinkSettings) -> Request {
    let mut message = about(index);
    if let Some(up) = to.up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags.set(LinkFlags::Up, up);
    }
    message
        .attributes
        .extend(to.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    message.attributes.extend(to.mtu.map(LinkAttribute::Mtu));
    message
        .attributes
        .extend(to.tx_queue_length.map(LinkAttribute::TxQueueLen));
    message
        .attributes
        .extend(to.ipv6_link_local.map(link_local));
    set(message)
}

pub(super) fn loopback_request() -> Request {
    let up = LinkSettings {
        up: Some(true),
        ..LinkSettings::default()
    };
    set_request(LOOPBACK_INDEX, &up)
}

pub(super) fn address_request(index: u32, address: IpNet) -> Request {
    let mut message = AddressMessage::default();
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![
        AddressAttribute::Local(address.addr()),
        AddressAttribute::Address(address.addr()),
    ];
    match address {
        IpNet::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            message
                .attributes
                .extend(broadcast(v4).map(AddressAttribute::Broadcast));
        }
        // IPAM hands each address out once, so waiting a second for duplicate detection buys nothing.
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    Request {
        message: RouteNetlinkMessage::NewAddress(message),
        flags: NLM_F_CREATE | NLM_F_REPLACE,
    }
}

/// `subnets`: what is on the link anyway; a gateway outside them is marked onlink.
pub(super) fn route_request(index: u32, route: &Route, subnets: &[IpNet]) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = match route.destination {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match route.gateway {
        Some(_) => RouteScope::Universe,
        None => RouteScope::Link,
    };
    message.attributes.push(RouteAttribute::Oif(index));
    if route.destination.prefix_len() > 0 {
        let destination = RouteAddress::from(route.destination.network());
        message
            .attributes
            .push(RouteAttribute::Destination(destination));
    }
    if let Some(gateway) = route.gateway {
        message
            .attributes
            .push(RouteAttribute::Gateway(gateway.into()));
        if !subnets.iter().any(|subnet| subnet.contains(&gateway)) {
            message.header.flags = RouteFlags::Onlink;
        }
    }
    if route.metric > 0 {
        message
            .attributes
            .push(RouteAttribute::Priority(route.metric));
    }
    Request {
        message: RouteNetlinkMessage::NewRoute(message),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}

/// An entry that stays as it is, whatever the neighbor says or does not say.
pub(super) fn neighbor_request(index: u32, neighbor: &Neighbor) -> Request {
    let mut message = NeighbourMessage::default();
    message.header.family = match neighbor.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(neighbor.address.into()),
        NeighbourAttribute::LinkLayerAddress(neighbor.mac.to_vec()),
    ];
    Request {
        message: RouteNetlinkMessage::NewNeighbour(message),
        flags: NLM_F_CREATE | NLM_F_REPLACE,
    }
}

/// How much waits for a neighbor on the link whose MAC is not known yet, of the family of `like`. The same setting in `/proc/sys`
/// takes longer to find the more namespaces there are.
pub(super) fn queue_request(index: u32, like: IpAddr, bytes: u32) -> Request {
    let (family, table) = match like {
        IpAddr::V4(_) => (AddressFamily::Inet, "arp_cache"),
        IpAddr::V6(_) => (AddressFamily::Inet6, "ndisc_cache"),
    };
    let mut message = NeighbourTableMessage::default();
    message.header.family = family;
    message.attributes = vec![
        NeighbourTableAttribute::Name(table.to_owned()),
        NeighbourTableAttribute::Parms(vec![
            NeighbourTableParameter::Ifindex(index),
            NeighbourTableParameter::QueueLenbytes(bytes),
        ]),
    ];
    Request {
        message: RouteNetlinkMessage::SetNeighbourTable(message),
        flags: 0,
    }
}

pub(super) fn about(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

pub(super) fn set(message: LinkMessage) -> Request {
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
    }
}

fn link_local(wanted: bool) -> LinkAttribute {
    let mode = if wanted {
        In6AddrGenMode::Eui64
    } else {
        In6AddrGenMode::None
    };
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
        mode,
    )])])
}

fn broadcast(address: Ipv4Net) -> Option<Ipv4Addr> {
    (address.prefix_len() <= LONGEST_PREFIX_WITH_BROADCAST).then(|| address.broadcast())
}

/// The kernel makes `lo` first in every namespace.
const LOOPBACK_INDEX: u32 = 1;
const LONGEST_PREFIX_WITH_BROADCAST: u8 = 30;
