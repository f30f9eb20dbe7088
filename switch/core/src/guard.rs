//! The guard: what a sandbox, another host and another network may not say.
//!
//! # Theory of operation
//!
//! A sandbox can send any frame, and so can whoever forges what comes over a tunnel or sits in a network that is patched to
//! this one. These would harm its neighbors and have no honest use, so they are dropped at the ingress:
//!
//! - the gateway's MAC as source;
//! - an address of the gateway, or one that is registered for an endpoint behind another port, as its own: as ARP sender, as
//!   the source of a packet, as the target of a neighbor advertisement. Addresses that are nobody's are free, for routers,
//!   virtual addresses and what is nested in a sandbox; a port may be allowed to bear its neighbors' (one-armed routers);
//! - what only DHCP servers send: anything for a DHCP client's port, since some clients look at no other field;
//! - what only routers send: router advertisements (RFC 6105) and redirects of either family.
//!
//! A rule holds against every disguise under which a Linux host would still accept the message: priority tags are looked
//! through, because the host strips them, and refused when stacked deeper than they are looked through; IPv6 extensions
//! are walked to their end (RFC 7113), and a first fragment without all of them is refused (RFC 7112). Hosts ignore
//! fragmented neighbor discovery (RFC 6980), so fragments need no reassembly here. Tagged frames are another network's: its
//! gateway is not ours. In a network that is aware of VLANs the frame is looked at beneath the tag of its VLAN, and held against the
//! addresses that live in it.

use std::net::IpAddr;

use crate::address::Address;
use crate::bridge_port::BridgePort;
use crate::bytes::be16;
use crate::frame::ethertype;
use crate::gateway::destination_port;
use crate::neighbors::{Neighbor, Owner};
use crate::packet::{Fragment, Packet, Version, protocol};
use crate::topology::Topology;
use crate::vlan::Vid;
use crate::{DropReason, Frame, dhcp};

/// A frame from a guarded port.
#[derive(Clone, Copy)]
pub(crate) struct Guard<'a> {
    pub(crate) frame: &'a Frame<'a>,
    /// What was parsed of it, if it is IP.
    pub(crate) packet: Option<&'a Packet>,
    pub(crate) port: &'a BridgePort,
    /// Where the frame belongs.
    pub(crate) vlan: Option<Vid>,
    /// Whether the gateway lives there.
    pub(crate) is_home: bool,
    pub(crate) topology: &'a Topology,
}

/// An address that a frame bears as its own, and who has it on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub address: IpAddr,
    pub owner: Option<Neighbor>,
}

impl<'a> Guard<'a> {
    /// Judges the frame. Gives the owner of the address that it bears, where that is registered for the port.
    pub(crate) fn judge(&self) -> Result<Option<&'a Owner>, DropReason> {
        let frame = self.frame;
        if self.is_home && self.topology.is_gateway(frame.src()) {
            return Err(DropReason::GatewayMac);
        }
        if !frame.is_untagged() {
            return Ok(None);
        }
        if frame.has_deeper_tags() {
            return Err(DropReason::StackedPriorityTags);
        }
        match (frame.ethertype(), self.packet) {
            (ethertype::ARP, _) => self.judge_arp(),
            (_, Some(packet)) => {
                self.judge_message(packet)?;
                self.own(packet.source(frame))
            }
            _ => Ok(None),
        }
    }

    /// Whether the frame's source is the MAC of the station whose address it bears.
    pub(crate) fn shows_mac(&self) -> bool {
        match self.packet {
            // Protocols for virtual routers (RFC 9568 §7.3) multicast from an address of their own with a MAC they share.
            Some(packet) => !self.frame.dst().is_multicast() || self.discovery(packet).is_some(),
            None => {
                let arp = self.frame.packet();
                arp.get(8..14) == Some(&self.frame.src().octets()[..])
            }
        }
    }

    /// The addresses that the frame bears as its own, and who has them.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        let frame = self.frame;
        let arp = frame.packet().get(..ARP_LEN).filter(|arp| is_ipv4_arp(arp));
        let borne = match (frame.ethertype(), self.packet) {
            _ if !frame.is_untagged() => [None, None],
            (ethertype::ARP, _) => [arp.map(|arp| &arp[14..18]), None],
            (_, Some(packet)) => [Some(packet.source(frame)), self.advertised(packet)],
            _ => [None, None],
        };
        let claims = borne.into_iter().flatten().filter_map(|address| {
            let address = on_wire(address)?;
            let owner = self.topology.neighbors.lookup_in(self.vlan, address);
            Some(Claim { address, owner })
        });
        claims.collect()
    }

    /// What a neighbor advertisement is about.
    fn advertised(&self, packet: &Packet) -> Option<&'a [u8]> {
        let is_one = self.discovery(packet) == Some(NEIGHBOR_ADVERTISEMENT);
        let target = packet.transport(self.frame).get(8..24);
        target.filter(|_| is_one)
    }

    // RFC 826. Linux accepts any hardware type that has Ethernet's address length.
    fn judge_arp(&self) -> Result<Option<&'a Owner>, DropReason> {
        let arp = self.frame.packet().get(..ARP_LEN);
        let Some(arp) = arp.filter(|arp| is_ipv4_arp(arp)) else {
            return Ok(None);
        };
        self.own(&arp[14..18])
    }

    fn judge_message(&self, packet: &Packet) -> Result<(), DropReason> {
        match (packet.protocol, packet.version) {
            (protocol::UDP, version) => self.judge_udp(packet, version),
            (protocol::ICMP, Version::V4) => self.judge_icmp(packet),
            (protocol::ICMPV6, Version::V6) => self.judge_icmpv6(packet),
            (protocol::UNKNOWN, Version::V6) => Err(DropReason::HeaderChain),
            _ => Ok(()),
        }
    }

    fn judge_udp(&self, packet: &Packet, version: Version) -> Result<(), DropReason> {
        let (client, server) = match version {
            Version::V4 => (dhcp::CLIENT_PORT, dhcp::SERVER_PORT),
            Version::V6 => (DHCPV6_CLIENT, DHCPV6_SERVER),
        };
        let config = &self.port.config;
        match destination_port(self.frame, packet) {
            Some(udp_port) if udp_port == client && !config.allow_dhcp_server => {
                Err(DropReason::RogueDhcp)
            }
            Some(udp_port) if udp_port == server && !config.allow_dhcp_client => {
                Err(DropReason::DhcpOff)
            }
            _ => Ok(()),
        }
    }

    // RFC 792.
    fn judge_icmp(&self, packet: &Packet) -> Result<(), DropReason> {
        let is_redirect = packet.fragment != Fragment::Later
            && packet.transport(self.frame).first() == Some(&ICMP_REDIRECT);
        if is_redirect && !self.port.config.allow_router {
            return Err(DropReason::RogueRedirect);
        }
        Ok(())
    }

    // RFC 4861 §4.
    fn judge_icmpv6(&self, packet: &Packet) -> Result<(), DropReason> {
        let is_router = self.port.config.allow_router;
        match self.discovery(packet) {
            Some(ROUTER_ADVERTISEMENT) if !is_router => Err(DropReason::RogueRa),
            Some(REDIRECT) if !is_router => Err(DropReason::RogueRedirect),
            Some(NEIGHBOR_ADVERTISEMENT) => match packet.transport(self.frame).get(8..24) {
                Some(target) => self.own(target).map(drop),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The owner of an address that the port may bear, if it is registered for this port.
    fn own(&self, address: &[u8]) -> Result<Option<&'a Owner>, DropReason> {
        let owner = Address::on_wire(address).and_then(|key| self.topology.neighbors.find(key));
        let Some(owner) = owner.filter(|owner| owner.vlan == self.vlan) else {
            return Ok(None);
        };
        match owner.port {
            None => Err(DropReason::GatewayIp),
            Some(port) if port == self.port.id => Ok(Some(owner)),
            Some(_) if self.port.config.allow_neighbor_addresses => Ok(None),
            Some(_) => Err(DropReason::NeighborIp),
        }
    }

    /// The type of a message of neighbor discovery.
    fn discovery(&self, packet: &Packet) -> Option<u8> {
        let is_whole = packet.fragment != Fragment::Later;
        if packet.protocol != protocol::ICMPV6 || packet.version != Version::V6 || !is_whole {
            return None;
        }
        let kind = *packet.transport(self.frame).first()?;
        (ROUTER_SOLICITATION..=REDIRECT)
            .contains(&kind)
            .then_some(kind)
    }
}

fn on_wire(address: &[u8]) -> Option<IpAddr> {
    match address.len() {
        4 => address.first_chunk::<4>().map(|octets| (*octets).into()),
        _ => address.first_chunk::<16>().map(|octets| (*octets).into()),
    }
}

/// Whether an ARP message is one of Ethernet and IPv4 addresses.
pub(crate) fn is_ipv4_arp(arp: &[u8]) -> bool {
    arp.len() >= ARP_LEN && be16(arp, 2) == ethertype::IPV4 && arp[4] == 6 && arp[5] == 4
}

pub(crate) const ARP_LEN: usize = 28;
const DHCPV6_CLIENT: u16 = 546;
const DHCPV6_SERVER: u16 = 547;
const ICMP_REDIRECT: u8 = 5;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
pub(crate) const NEIGHBOR_SOLICITATION: u8 = 135;
pub(crate) const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
