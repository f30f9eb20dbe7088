//! The way that the host has for a packet that came in by a link.

use std::net::IpAddr;

use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::NetlinkError;
use super::route::ip;
use super::socket::Netlink;

/// Where the kernel would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// To the host itself.
    Local,
    /// Out of this link.
    Link { index: u32, gateway: Option<IpAddr> },
    /// Nowhere, in the kernel's words.
    None(String),
}

impl Netlink {
    /// As the kernel decides for a packet from `source` that comes in by link `ingress`: rules, tables and filters of
    /// reverse paths take part, as in `ip route get ... iif`.
    pub fn way_out(
        &mut self,
        ingress: u32,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<WayOut, NetlinkError> {
        let mut question = RouteMessage::default();
        let (family, length) = match destination {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        question.header.address_family = family;
        question.header.destination_prefix_length = length;
        question.header.source_prefix_length = length;
        question.attributes = vec![
            RouteAttribute::Destination(destination.into()),
            RouteAttribute::Source(source.into()),
            RouteAttribute::Iif(ingress),
        ];
        let answer = self.ask(RouteNetlinkMessage::GetRoute(question))?;
        Ok(match answer {
            Ok(RouteNetlinkMessage::NewRoute(route)) => way(&route),
            Ok(_) => WayOut::None("no route".to_owned()),
            Err(refusal) => WayOut::None(refusal.errno.desc().to_owned()),
        })
    }
}

fn way(route: &RouteMessage) -> WayOut {
    if matches!(route.header.kind, RouteType::Local | RouteType::Broadcast) {
        return WayOut::Local;
    }
    let mut attributes = route.attributes.iter();
    let gateway = attributes.find_map(|attribute| match attribute {
        RouteAttribute::Gateway(gateway) => ip(gateway),
        _ => None,
    });
    let mut attributes = route.attributes.iter();
    let index = attributes.find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    match (route.header.kind, index) {
        (RouteType::Unicast | RouteType::Multicast, Some(index)) => WayOut::Link { index, gateway },
        (kind, _) => WayOut::None(format!("{kind:?}").to_lowercase()),
    }
}
