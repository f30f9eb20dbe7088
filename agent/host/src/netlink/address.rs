//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::attributes::attribute;
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
        self.dump_raw("addresses", question, listed)
    }

    /// Those of one link.
    pub(super) fn addresses_of(&mut self, index: u32) -> Result<Vec<IpNet>, NetlinkError> {
        let mut question = AddressMessage::default();
        question.header.index = index;
        self.filter_dumps();
        let question = RouteNetlinkMessage::GetAddress(question);
        let listed = self.dump_raw("addresses", question, listed)?.into_iter();
        let own = listed.filter(|entry| entry.link_index == index);
        Ok(own.map(|entry| entry.address).collect())
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

/// An address of a list.
///
/// ```text
/// nlmsghdr: length 4 | type 2 | flags 2 | sequence 4 | port id 4
/// ifaddrmsg: family 1 | prefix length 1 | flags 1 | scope 1 | index 4                 (linux/if_addr.h)
/// attributes
/// ```
fn listed(message: &[u8]) -> Option<AddressEntry> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    if kind != libc::RTM_NEWADDR {
        return None;
    }
    let attributes = message.get(24..)?;
    // On a point-to-point link ADDRESS is the peer and LOCAL is ours; elsewhere IPv6 has only ADDRESS.
    let own = attribute(attributes, libc::IFA_LOCAL);
    let address = address(own.or_else(|| attribute(attributes, libc::IFA_ADDRESS))?)?;
    Some(AddressEntry {
        link_index: u32::from_ne_bytes(*message.get(20..)?.first_chunk()?),
        address: IpNet::new(address, *message.get(17)?).ok()?,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn broadcast(address: Ipv4Net) -> Option<Ipv4Addr> {
    (address.prefix_len() <= LONGEST_PREFIX_WITH_BROADCAST).then(|| address.broadcast())
}

const LONGEST_PREFIX_WITH_BROADCAST: u8 = 30;
