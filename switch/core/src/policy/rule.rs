//! Rules, as far as they are about frames: numbers only.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::packet::protocol;
use crate::{Mac, ethertype};

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Allow,
    Deny,
}

/// One rule. What is absent admits everything. Which endpoints it means is told apart ([`super::Members`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// By which people know it.
    pub number: u32,
    pub action: Action,
    pub source_mac: Option<Mac>,
    pub destination_mac: Option<Mac>,
    pub source: Option<AddressRange>,
    pub destination: Option<AddressRange>,
    pub ethertype: Option<u16>,
    /// Of IP, of either family.
    pub protocol: Option<u8>,
    /// Of TCP, UDP and others that have ports; with a protocol only.
    pub source_ports: Option<RangeInclusive<u16>>,
    pub destination_ports: Option<RangeInclusive<u16>>,
    /// Of ICMP of either family; with a protocol only.
    pub icmp_type: Option<u8>,
    /// Segments of TCP with ACK or RST only.
    pub established: bool,
}

/// Addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    pub first: IpAddr,
    pub last: IpAddr,
}

impl Rule {
    /// A rule that means everything.
    pub const fn new(number: u32, action: Action) -> Self {
        Self {
            number,
            action,
            source_mac: None,
            destination_mac: None,
            source: None,
            destination: None,
            ethertype: None,
            protocol: None,
            source_ports: None,
            destination_ports: None,
            icmp_type: None,
            established: false,
        }
    }

    /// Whether it is about IP packets only.
    pub(super) const fn needs_ip(&self) -> bool {
        self.protocol.is_some() || self.source.is_some() || self.destination.is_some()
    }

    /// Whether it admits packets of the family that this ethertype stands for, whatever their protocol.
    pub(super) fn admits_ethertype(&self, kind: u16) -> bool {
        self.ethertype.is_none_or(|wanted| wanted == kind)
    }

    /// Whether it admits the protocol; nothing in a packet of the other family is ICMP of this one.
    pub(super) fn admits_protocol(&self, kind: u16, number: u8) -> bool {
        let is_foreign = match number {
            protocol::ICMP => kind == ethertype::IPV6,
            protocol::ICMPV6 => kind == ethertype::IPV4,
            _ => false,
        };
        self.protocol
            .is_none_or(|wanted| wanted == number && !is_foreign)
    }
}
