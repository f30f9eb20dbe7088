//! Routes through links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::error::NetlinkError;
use super::link::LinkEntry;
use super::socket::{Netlink, Request};

/// A route through a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: IpNet,
    /// Directly on the link where absent.
    pub gateway: Option<IpAddr>,
    /// The kernel's default where zero.
    pub metric: u32,
}

/// A unicast route of the main table as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    pub destination: IpNet,
    pub gateway: Option<IpAddr>,
    pub link_index: Option<u32>,
}

impl Route {
    /// The default route of the gateway's family, after `rank` others.
    pub fn default_via(gateway: IpAddr, rank: u32) -> Self {
        let (destination, metric) = match gateway {
            IpAddr::V4(_) => (Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(), rank),
            // The kernel takes its default for a metric of zero, so the first route has that and the others come after.
            IpAddr::V6(_) => (
                Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
                IPV6_METRIC.saturating_add(rank),
            ),
        };
        Self {
            destination,
            gateway: Some(gateway),
            metric,
        }
    }
}

impl Netlink {
    pub fn add_route(&mut self, link: &LinkEntry, route: &Route) -> Result<(), NetlinkError> {
        let request = route_request(link.index, route, &[]);
        self.run(vec![request], |_, refusal| NetlinkError::AddRoute {
            link: link.name.clone(),
            destination: route.destination,
            gateway: route.gateway,
            refusal,
        })
    }

    /// Takes in what comes by the link for `::1`: the kernel looks for a route by that very link, and nothing on a wire bears that address, so
    /// that this is the answer to what was led from `::1` to a container. One that is so already is no error.
    pub fn lead_loopback6(&mut self, link: &LinkEntry, on: bool) -> Result<(), NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.destination_prefix_length = 128;
        message.header.table = LOCAL_TABLE;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Local;
        message.header.scope = RouteScope::Universe;
        message.attributes.extend([
            RouteAttribute::Oif(link.index),
            RouteAttribute::Destination(Ipv6Addr::LOCALHOST.into()),
            // Each link has its own, after that of `lo`.
            RouteAttribute::Priority(IPV6_METRIC.saturating_add(link.index)),
        ]);
        let request = match on {
            true => Request {
                message: RouteNetlinkMessage::NewRoute(message),
                flags: NLM_F_CREATE | NLM_F_EXCL,
            },
            false => Request {
                message: RouteNetlinkMessage::DelRoute(message),
                flags: 0,
            },
        };
        let is_so = |errno| matches!(errno, Errno::EEXIST | Errno::ESRCH);
        match self.apply(vec![request])? {
            Some(refused) if !is_so(refused.refusal.errno) => Err(NetlinkError::AddRoute {
                link: link.name.clone(),
                destination: Ipv6Net::from(Ipv6Addr::LOCALHOST).into(),
                gateway: None,
                refusal: refused.refusal,
            }),
            _ => Ok(()),
        }
    }

    /// Unicast routes of the main table, both families.
    pub fn routes(&mut self) -> Result<Vec<RouteEntry>, NetlinkError> {
        let mut question = RouteMessage::default();
        question.header.table = RouteHeader::RT_TABLE_MAIN;
        self.filter_dumps();
        let question = RouteNetlinkMessage::GetRoute(question);
        let answers = self.dump("routes", question)?;
        Ok(answers.iter().filter_map(route_entry).collect())
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

fn route_entry(message: &RouteNetlinkMessage) -> Option<RouteEntry> {
    let RouteNetlinkMessage::NewRoute(message) = message else {
        return None;
    };
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let mut destination = match header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut gateway = None;
    let mut link_index = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Oif(index) => link_index = Some(*index),
            _ => {}
        }
    }
    Some(RouteEntry {
        destination: IpNet::new(destination, header.destination_prefix_length).ok()?,
        gateway,
        link_index,
    })
}

pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// `IP6_RT_PRIO_USER` of linux/ipv6_route.h.
const IPV6_METRIC: u32 = 1024;
/// `RT_TABLE_LOCAL`, rtnetlink(7).
const LOCAL_TABLE: u8 = 255;
