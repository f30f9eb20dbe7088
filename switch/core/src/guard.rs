//! The guard: what a sandbox may not say.
//!
//! # Theory of operation
//!
//! A sandbox can send any frame. These would harm its neighbors and have no honest use, so they are dropped at the ingress:
//!
//! - the gateway's MAC as source, or its addresses claimed by ARP (sender), by neighbor discovery (source, or the target of
//!   an advertisement);
//! - what only DHCP servers send: anything for a DHCP client's port, since some clients look at no other field;
//! - what only routers send: router advertisements and redirects (RFC 6105).
//!
//! A rule holds against every disguise under which a Linux host would still accept the message: priority tags are looked
//! through, because the host strips them, and refused when stacked deeper than they are looked through; IPv6 extensions
//! are walked (RFC 7113), and a chain too long to be walked is refused. Hosts ignore fragmented neighbor discovery (RFC 6980),
//! so fragments need no reassembly here. Tagged frames are another network's: its gateway is not ours.

use crate::bytes::be16;
use crate::frame::ethertype;
use crate::gateway::{Gateway, destination_port};
use crate::packet::{Fragment, Packet, Version, protocol};
use crate::{DropReason, Frame, PortConfig};

/// Judges a frame from a sandbox. `packet` is what was parsed of it, if it is IP.
pub(crate) fn inspect(
    frame: &Frame<'_>,
    packet: Option<&Packet>,
    gateway: Option<&Gateway>,
    config: &PortConfig,
) -> Result<(), DropReason> {
    if gateway.is_some_and(|gateway| gateway.mac == frame.src()) {
        return Err(DropReason::GatewayMac);
    }
    if !frame.is_untagged() {
        return Ok(());
    }
    if frame.has_deeper_tags() {
        return Err(DropReason::StackedPriorityTags);
    }
    if frame.ethertype() == ethertype::ARP {
        return inspect_arp(frame, gateway);
    }
    let Some(packet) = packet else {
        return Ok(());
    };
    match packet.protocol {
        protocol::UDP if !config.allow_dhcp_server => inspect_udp(frame, packet),
        protocol::ICMPV6 if packet.version == Version::V6 => {
            inspect_icmpv6(frame, packet, gateway, config)
        }
        protocol::UNKNOWN if packet.version == Version::V6 => Err(DropReason::HeaderChain),
        _ => Ok(()),
    }
}

// RFC 826. Linux accepts any hardware type that has Ethernet's address length.
fn inspect_arp(frame: &Frame<'_>, gateway: Option<&Gateway>) -> Result<(), DropReason> {
    let (Some(arp), Some(gateway)) = (frame.packet().get(..ARP_LEN), gateway) else {
        return Ok(());
    };
    if is_ipv4_arp(arp) && gateway.has(&arp[14..18]) {
        return Err(DropReason::GatewayIp);
    }
    Ok(())
}

fn inspect_udp(frame: &Frame<'_>, packet: &Packet) -> Result<(), DropReason> {
    let client = match packet.version {
        Version::V4 => DHCP_CLIENT,
        Version::V6 => DHCPV6_CLIENT,
    };
    if destination_port(frame, packet) == Some(client) {
        return Err(DropReason::RogueDhcp);
    }
    Ok(())
}

// RFC 4861 §4.
fn inspect_icmpv6(
    frame: &Frame<'_>,
    packet: &Packet,
    gateway: Option<&Gateway>,
    config: &PortConfig,
) -> Result<(), DropReason> {
    let message = packet.transport(frame);
    let Some(kind) = message
        .first()
        .filter(|_| packet.fragment != Fragment::Later)
    else {
        return Ok(());
    };
    if !(ROUTER_SOLICITATION..=REDIRECT).contains(kind) {
        return Ok(());
    }
    if matches!(*kind, ROUTER_ADVERTISEMENT | REDIRECT) && !config.allow_router {
        return Err(DropReason::RogueRa);
    }
    let Some(gateway) = gateway else {
        return Ok(());
    };
    let target = message
        .get(8..24)
        .filter(|_| *kind == NEIGHBOR_ADVERTISEMENT);
    if gateway.has(packet.source(frame)) || target.is_some_and(|target| gateway.has(target)) {
        return Err(DropReason::GatewayIp);
    }
    Ok(())
}

/// Whether an ARP message is one of Ethernet and IPv4 addresses.
pub(crate) fn is_ipv4_arp(arp: &[u8]) -> bool {
    arp.len() >= ARP_LEN && be16(arp, 2) == ethertype::IPV4 && arp[4] == 6 && arp[5] == 4
}

pub(crate) const ARP_LEN: usize = 28;
const DHCP_CLIENT: u16 = 68;
const DHCPV6_CLIENT: u16 = 546;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
pub(crate) const NEIGHBOR_SOLICITATION: u8 = 135;
pub(crate) const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
