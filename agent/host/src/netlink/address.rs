//! Addresses of links.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::NetlinkError;
use super::link::LinkEntry;
use super::socket::{Netlink, Request};

/// An address as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressEntry {
    pub link_index: u32,
    pub address: IpNet,
}

impl Netlink {
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

    pub fn addresses(&mut self) -> Result<Vec<AddressEntry>, NetlinkError> {
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump("addresses", question)?;
        Ok(answers.iter().filter_map(address_entry).collect())
    }
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

fn broadcast(address: Ipv4Net) -> Option<Ipv4Addr> {
    (address.prefix_len() <= LONGEST_PREFIX_WITH_BROADCAST).then(|| address.broadcast())
}

const LONGEST_PREFIX_WITH_BROADCAST: u8 = 30;
