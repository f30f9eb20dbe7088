//! Neighbors of a link: whose MAC is known, and what waits for the others.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::neighbour_table::{
    NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::Request;

/// A station on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    pub address: IpAddr,
    pub mac: [u8; 6],
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
