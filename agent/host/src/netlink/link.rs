//! Operations on one link, and lists of links, addresses and routes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use agent_core::network::SubnetEntry;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::error::{NetlinkError, Refusal};
use super::request::{about, address_request, loopback_request, route_request, set, set_request};
use super::sandbox::Route;
use super::socket::{Netlink, Request};

/// What may be set on a link in one go; `None` leaves a value as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    pub mac: Option<[u8; 6]>,
    /// Bytes of the network layer packet.
    pub mtu: Option<u32>,
    /// Packets the link's queue holds.
    pub tx_queue_length: Option<u32>,
    /// `false`: the kernel makes no link-local address, and so sends no router solicitation or DAD of its own.
    pub ipv6_link_local: Option<bool>,
    pub up: Option<bool>,
}

/// A link as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEntry {
    pub index: u32,
    pub name: String,
    /// Absent where the link has none of six bytes.
    pub mac: Option<[u8; 6]>,
    pub mtu: u32,
    pub tx_queue_length: u32,
    pub up: bool,
    /// The driver's word (`tun`, `veth`, `bridge`), absent for plain devices.
    pub kind: Option<String>,
}

/// An address as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressEntry {
    pub link_index: u32,
    pub address: IpNet,
}

/// A unicast route of the main table as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    pub destination: IpNet,
    pub gateway: Option<IpAddr>,
    pub link_index: Option<u32>,
}

impl Netlink {
    pub fn link_by_name(&mut self, name: &str) -> Result<LinkEntry, NetlinkError> {
        let mut question = LinkMessage::default();
        question
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        self.link(question, || name.to_owned())
    }

    pub fn link_by_index(&mut self, index: u32) -> Result<LinkEntry, NetlinkError> {
        self.link(about(index), || format!("number {index}"))
    }

    pub fn set_link(&mut self, link: &LinkEntry, to: &LinkSettings) -> Result<(), NetlinkError> {
        self.run(vec![set_request(link.index, to)], |_, refusal| {
            let link = link.name.clone();
            match to.up {
                Some(true) => NetlinkError::Up { link, refusal },
                _ => NetlinkError::Configure { link, refusal },
            }
        })
    }

    pub fn rename_link(&mut self, link: &LinkEntry, name: &str) -> Result<(), NetlinkError> {
        let mut message = about(link.index);
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        self.run(vec![set(message)], |_, refusal| NetlinkError::Rename {
            link: link.name.clone(),
            name: name.to_owned(),
            refusal,
        })
    }

    /// Deletes the link. A link that is gone already counts as deleted.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let request = Request {
            message: RouteNetlinkMessage::DelLink(message),
            flags: 0,
        };
        match self.apply(vec![request])? {
            Some(refused) if refused.refusal.errno != Errno::ENODEV => Err(NetlinkError::Delete {
                link: name.to_owned(),
                refusal: refused.refusal,
            }),
            _ => Ok(()),
        }
    }

    pub fn loopback_up(&mut self) -> Result<(), NetlinkError> {
        self.run(vec![loopback_request()], |_, refusal| NetlinkError::Up {
            link: "lo".into(),
            refusal,
        })
    }

    /// Adds an address with its subnet's route; one that is there already is left.
    pub fn add_address(&mut self, link: &LinkEntry, address: IpNet) -> Result<(), NetlinkError> {
        self.run(vec![address_request(link.index, address)], |_, refusal| {
            NetlinkError::AddAddress {
                link: link.name.clone(),
                address,
                refusal,
            }
        })
    }

    pub fn add_route(&mut self, link: &LinkEntry, route: &Route) -> Result<(), NetlinkError> {
        let request = route_request(link.index, route, &[]);
        self.run(vec![request], |_, refusal| NetlinkError::AddRoute {
            link: link.name.clone(),
            destination: route.destination,
            gateway: route.gateway,
            refusal,
        })
    }

    pub fn links(&mut self) -> Result<Vec<LinkEntry>, NetlinkError> {
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.dump("links", question)?;
        Ok(answers.iter().filter_map(link_entry).collect())
    }

    pub fn addresses(&mut self) -> Result<Vec<AddressEntry>, NetlinkError> {
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump("addresses", question)?;
        Ok(answers.iter().filter_map(address_entry).collect())
    }

    /// Unicast routes of the main table, both families.
    pub fn routes(&mut self) -> Result<Vec<RouteEntry>, NetlinkError> {
        let question = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let answers = self.dump("routes", question)?;
        Ok(answers.iter().filter_map(route_entry).collect())
    }

    /// Every subnet this namespace has an address in or a route to, but default routes: what new networks must avoid.
    pub fn subnets_in_use(&mut self) -> Result<Vec<SubnetEntry>, NetlinkError> {
        let names: HashMap<u32, String> = self
            .links()?
            .into_iter()
            .map(|link| (link.index, link.name))
            .collect();
        let name = |index: Option<u32>| names.get(&index?).cloned();
        let connected = self.addresses()?.into_iter().map(|entry| SubnetEntry {
            subnet: entry.address.trunc(),
            gateway: None,
            link: name(Some(entry.link_index)),
        });
        let routed = self.routes()?.into_iter().map(|entry| SubnetEntry {
            subnet: entry.destination.trunc(),
            gateway: entry.gateway,
            link: name(entry.link_index),
        });
        let mut subnets: Vec<_> = connected
            .chain(routed)
            .filter(|entry| entry.subnet.prefix_len() > 0)
            .collect();
        subnets.sort();
        subnets.dedup();
        Ok(subnets)
    }

    /// Applies a group; `describe` names the request (by its place) that was refused.
    pub(super) fn run(
        &mut self,
        requests: Vec<Request>,
        describe: impl FnOnce(usize, Refusal) -> NetlinkError,
    ) -> Result<(), NetlinkError> {
        match self.apply(requests)? {
            None => Ok(()),
            Some(refused) => Err(describe(refused.request, refused.refusal)),
        }
    }

    fn link(
        &mut self,
        question: LinkMessage,
        subject: impl FnOnce() -> String,
    ) -> Result<LinkEntry, NetlinkError> {
        match self.ask(RouteNetlinkMessage::GetLink(question))? {
            Ok(answer) => link_entry(&answer)
                .ok_or_else(|| NetlinkError::Malformed("no link in the answer".into())),
            Err(refusal) if matches!(refusal.errno, Errno::ENODEV | Errno::ERANGE) => {
                Err(NetlinkError::NoSuchLink(subject()))
            }
            Err(refusal) => Err(NetlinkError::List {
                what: "a link",
                refusal,
            }),
        }
    }
}

fn link_entry(message: &RouteNetlinkMessage) -> Option<LinkEntry> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let mut entry = LinkEntry {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        tx_queue_length: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        kind: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => entry.name.clone_from(name),
            LinkAttribute::Address(mac) => entry.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => entry.mtu = *mtu,
            LinkAttribute::TxQueueLen(length) => entry.tx_queue_length = *length,
            LinkAttribute::LinkInfo(infos) => entry.kind = infos.iter().find_map(kind),
            _ => {}
        }
    }
    Some(entry)
}

fn kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(InfoKind::Other(kind)) => Some(kind.clone()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

fn address_entry(message: &RouteNetlinkMessage) -> Option<AddressEntry> {
    let RouteNetlinkMessage::NewAddress(message) = message else {
        return None;
    };
    // On a point-to-point link ADDRESS is the peer and LOCAL is ours; elsewhere IPv6 has only ADDRESS.
    let mut own = None;
    let mut shown = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => shown = Some(*address),
            _ => {}
        }
    }
    Some(AddressEntry {
        link_index: message.header.index,
        address: IpNet::new(own.or(shown)?, message.header.prefix_len).ok()?,
    })
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

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}
