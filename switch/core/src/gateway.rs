//! The gateway, as the bridge knows it: a MAC and addresses that are answered for, protected, and split in two.
//!
//! # Theory of operation
//!
//! One MAC, two ports behind it: the edge serves DHCP and DNS, the host port carries everything else, to the host's own
//! addresses and beyond. A network without a host port is internal: its edge gets everything. Which of them a frame is for
//! is read from its headers, because both share MAC and addresses.

use std::net::IpAddr;

use crate::bytes::be16;
use crate::frame::Frame;
use crate::packet::{Fragment, Packet, protocol};
use crate::{Mac, dhcp};

/// MAC and addresses of a network's gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gateway {
    pub(crate) mac: Mac,
    v4: Vec<[u8; 4]>,
    v6: Vec<[u8; 16]>,
}

impl Gateway {
    pub(crate) fn new(mac: Mac, addresses: &[IpAddr]) -> Self {
        let mut gateway = Self {
            mac,
            v4: Vec::new(),
            v6: Vec::new(),
        };
        for address in addresses {
            match address {
                IpAddr::V4(address) => gateway.v4.push(address.octets()),
                IpAddr::V6(address) => gateway.v6.push(address.octets()),
            }
        }
        gateway
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.v4.iter().map(|octets| IpAddr::from(*octets));
        v4.chain(self.v6.iter().map(|octets| IpAddr::from(*octets)))
    }

    pub(crate) fn address_v4(&self) -> Option<[u8; 4]> {
        self.v4.first().copied()
    }

    /// Whether an address on the wire, 4 or 16 bytes, is the gateway's.
    pub(crate) fn has(&self, address: &[u8]) -> bool {
        self.v4.iter().any(|own| own[..] == *address)
            || self.v6.iter().any(|own| own[..] == *address)
    }

    /// Whether a packet for the gateway is for its name server, rather than for the host or what lies behind it.
    pub(crate) fn serves_names(&self, frame: &Frame<'_>, packet: &Packet) -> bool {
        matches!(packet.protocol, protocol::UDP | protocol::TCP)
            && destination_port(frame, packet) == Some(DNS)
            && self.has(packet.destination(frame))
    }

    /// Whether a packet asks a name server beyond the gateway.
    pub(crate) fn leads_to_names(&self, frame: &Frame<'_>, packet: &Packet) -> bool {
        packet.protocol == protocol::UDP
            && packet.fragment == Fragment::Whole
            && destination_port(frame, packet) == Some(DNS)
            && !self.has(packet.destination(frame))
    }
}

/// A DHCPv4 client's message.
pub(crate) fn is_dhcp_request(frame: &Frame<'_>, packet: &Packet) -> bool {
    packet.protocol == protocol::UDP && destination_port(frame, packet) == Some(dhcp::SERVER_PORT)
}

/// `None` where the header is not in this packet.
pub(crate) fn destination_port(frame: &Frame<'_>, packet: &Packet) -> Option<u16> {
    if packet.fragment == Fragment::Later {
        return None;
    }
    packet.transport(frame).get(..4).map(|ports| be16(ports, 2))
}

const DNS: u16 = 53;
