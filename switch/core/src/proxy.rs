//! Proxy for ARP and neighbor discovery.
//!
//! # Theory of operation
//!
//! The network knows where its addresses are ([`crate::neighbors`]). So the bridge answers who-has itself, and the request
//! floods nobody. It answers only what was asked of everybody; a request to one station is that station's, to prove it is
//! alive (the gateway excepted, which is the bridge). It never answers
//!
//! - the owner of the address: its announcements and its own duplicate detection must not meet a defender;
//! - a probe for an endpoint's address (RFC 5227 §2.1.1, RFC 4862 §5.4.2): the endpoint defends itself, the gateway is
//!   defended here;
//! - for an address it does not know, which floods.
//!
//! Only untagged frames are answered; in a network that is aware of VLANs, those that are so beneath the tag of their VLAN, by who
//! lives there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bytes::{be16, put_be16};
use crate::frame::ethertype;
use crate::guard::{ARP_LEN, NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION, is_ipv4_arp};
use crate::neighbors::Neighbors;
use crate::packet::{Fragment, IPV6_HEADER_LEN, Packet, Version, protocol};
use crate::vlan::Vid;
use crate::{Frame, Mac, PortId, checksum};

/// Who answers a frame that came in in a VLAN by a port, and what was asked.
pub(crate) fn answer(
    neighbors: &Neighbors,
    (vlan, ingress): (Option<Vid>, PortId),
    frame: &Frame<'_>,
    packet: Option<&Packet>,
) -> Option<Answer> {
    let question = Question::read(frame, packet)?;
    let neighbor = neighbors.lookup_in(vlan, question.target)?;
    let is_gateway = neighbor.port.is_none();
    let is_owner = neighbor.mac == frame.src() || neighbor.port == Some(ingress);
    let is_ours = match is_gateway {
        true => frame.dst().is_multicast() || frame.dst() == neighbor.mac,
        false => frame.dst().is_multicast() && !question.is_probe(),
    };
    (is_ours && !is_owner).then_some(Answer {
        question,
        mac: neighbor.mac,
        is_gateway,
    })
}

/// The address that a frame asks for, if it does.
pub(crate) fn asked(frame: &Frame<'_>, packet: Option<&Packet>) -> Option<IpAddr> {
    Question::read(frame, packet).map(|question| question.target)
}

/// The frame by which the owner of an address tells everybody that it has it, as it would leave the owner's own link: an ARP
/// announcement (RFC 5227 §3) or an unsolicited neighbor advertisement (RFC 4861 §7.2.6). Who remembers another MAC takes
/// this one.
pub fn announcement(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp_announcement(mac, address).to_vec(),
        IpAddr::V6(address) => {
            let probed = Question {
                target: address.into(),
                asker: Ipv6Addr::UNSPECIFIED.into(),
                asker_mac: mac,
            };
            let answer = Answer {
                question: probed,
                mac,
                is_gateway: false,
            };
            let mut frame = [0; ADVERTISEMENT_LEN];
            answer.write_advertisement(address, Ipv6Addr::UNSPECIFIED, &mut frame);
            frame.to_vec()
        }
    }
}

fn arp_announcement(mac: Mac, address: Ipv4Addr) -> [u8; ARP_FRAME_LEN] {
    let mut frame = [0; ARP_FRAME_LEN];
    write_ethernet(&mut frame, Mac::BROADCAST, mac, ethertype::ARP);
    let arp = &mut frame[Frame::HEADER_LEN..];
    put_be16(arp, 0, ARP_ETHERNET);
    put_be16(arp, 2, ethertype::IPV4);
    arp[4..6].copy_from_slice(&[6, 4]);
    put_be16(arp, 6, ARP_REQUEST);
    arp[8..14].copy_from_slice(&mac.octets());
    arp[14..18].copy_from_slice(&address.octets());
    arp[24..28].copy_from_slice(&address.octets());
    frame
}

/// Who has `target`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    target: IpAddr,
    asker: IpAddr,
    asker_mac: Mac,
}

impl Question {
    fn read(frame: &Frame<'_>, packet: Option<&Packet>) -> Option<Self> {
        if !frame.vids().is_empty() {
            return None;
        }
        match frame.ethertype() {
            ethertype::ARP => Self::read_arp(frame),
            ethertype::IPV6 => Self::read_solicitation(frame, packet?),
            _ => None,
        }
    }

    // RFC 826.
    fn read_arp(frame: &Frame<'_>) -> Option<Self> {
        let arp = frame.packet().get(..ARP_LEN)?;
        let sender_is_source = arp[8..14] == frame.src().octets();
        if !is_ipv4_arp(arp)
            || be16(arp, 0) != ARP_ETHERNET
            || be16(arp, 6) != ARP_REQUEST
            || !sender_is_source
        {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(arp[at], arp[at + 1], arp[at + 2], arp[at + 3]);
        let (asker, target) = (address(14), address(24));
        // An announcement asks for its own address (RFC 5227 §3).
        (asker != target).then_some(Self {
            target: target.into(),
            asker: asker.into(),
            asker_mac: frame.src(),
        })
    }

    // RFC 4861 §4.3, §7.1.1.
    fn read_solicitation(frame: &Frame<'_>, packet: &Packet) -> Option<Self> {
        let message = packet.transport(frame);
        let hop_limit = frame.bytes()[packet.start + 7];
        let is_valid = packet.version == Version::V6
            && packet.protocol == protocol::ICMPV6
            && packet.fragment == Fragment::Whole
            && hop_limit == HOP_LIMIT
            && message.len() >= SOLICITATION_LEN
            && message[..2] == [NEIGHBOR_SOLICITATION, 0];
        if !is_valid {
            return None;
        }
        let target = ipv6(&message[8..24])?;
        let asker = ipv6(packet.source(frame))?;
        (!target.is_multicast() && !asker.is_multicast() && asker != target).then_some(Self {
            target: target.into(),
            asker: asker.into(),
            asker_mac: frame.src(),
        })
    }

    /// Whether the asker wants the address for itself.
    fn is_probe(&self) -> bool {
        self.asker.is_unspecified()
    }
}

/// What the bridge says for a neighbor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    question: Question,
    mac: Mac,
    pub(crate) is_gateway: bool,
}

impl Answer {
    /// Writes the frame to the start of `out` and returns its length; zero when `out` is too short.
    pub(crate) fn write(&self, out: &mut [u8]) -> usize {
        match (self.question.target, self.question.asker) {
            (IpAddr::V4(target), IpAddr::V4(asker)) => match out.first_chunk_mut() {
                Some(out) => self.write_arp(target, asker, out),
                None => 0,
            },
            (IpAddr::V6(target), IpAddr::V6(asker)) => match out.first_chunk_mut() {
                Some(out) => self.write_advertisement(target, asker, out),
                None => 0,
            },
            _ => 0,
        }
    }

    fn write_arp(&self, target: Ipv4Addr, asker: Ipv4Addr, out: &mut [u8; ARP_FRAME_LEN]) -> usize {
        let asker_mac = self.question.asker_mac;
        write_ethernet(out, asker_mac, self.mac, ethertype::ARP);
        let arp = &mut out[Frame::HEADER_LEN..];
        put_be16(arp, 0, ARP_ETHERNET);
        put_be16(arp, 2, ethertype::IPV4);
        arp[4..6].copy_from_slice(&[6, 4]);
        put_be16(arp, 6, ARP_REPLY);
        arp[8..14].copy_from_slice(&self.mac.octets());
        arp[14..18].copy_from_slice(&target.octets());
        arp[18..24].copy_from_slice(&asker_mac.octets());
        arp[24..28].copy_from_slice(&asker.octets());
        out.len()
    }

    // RFC 4861 §4.4, §7.2.4.
    fn write_advertisement(
        &self,
        target: Ipv6Addr,
        asker: Ipv6Addr,
        out: &mut [u8; ADVERTISEMENT_LEN],
    ) -> usize {
        let is_probe = self.question.is_probe();
        let (destination, destination_mac) = match is_probe {
            true => (ALL_NODES, ALL_NODES_MAC),
            false => (asker, self.question.asker_mac),
        };
        out.fill(0);
        write_ethernet(out, destination_mac, self.mac, ethertype::IPV6);
        let (ip, message) = out[Frame::HEADER_LEN..].split_at_mut(IPV6_HEADER_LEN);
        ip[0] = 0x60;
        put_be16(ip, 4, ADVERTISEMENT_MESSAGE_LEN);
        ip[6..8].copy_from_slice(&[protocol::ICMPV6, HOP_LIMIT]);
        ip[8..24].copy_from_slice(&target.octets());
        ip[24..40].copy_from_slice(&destination.octets());
        message[0] = NEIGHBOR_ADVERTISEMENT;
        message[4] = FLAG_OVERRIDE
            | if self.is_gateway { FLAG_ROUTER } else { 0 }
            | if is_probe { 0 } else { FLAG_SOLICITED };
        message[8..24].copy_from_slice(&target.octets());
        message[24..26].copy_from_slice(&[TARGET_LINK_LAYER_ADDRESS, 1]);
        message[26..32].copy_from_slice(&self.mac.octets());
        // RFC 8200 §8.1: addresses, length and next header stand before the message.
        let pseudo_header = checksum::sum(0, &ip[8..40])
            + checksum::number(ADVERTISEMENT_MESSAGE_LEN)
            + checksum::number(u16::from(protocol::ICMPV6));
        let checksum = checksum::finish(checksum::sum(pseudo_header, message));
        put_be16(message, 2, checksum);
        out.len()
    }
}

fn write_ethernet(out: &mut [u8], dst: Mac, src: Mac, ethertype: u16) {
    out[..6].copy_from_slice(&dst.octets());
    out[6..12].copy_from_slice(&src.octets());
    put_be16(out, 12, ethertype);
}

fn ipv6(bytes: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from)
}

const ARP_ETHERNET: u16 = 1;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ARP_FRAME_LEN: usize = Frame::HEADER_LEN + ARP_LEN;
const SOLICITATION_LEN: usize = 24;
/// With one option: the link-layer address.
const ADVERTISEMENT_MESSAGE_LEN: u16 = 32;
pub(crate) const ADVERTISEMENT_LEN: usize = Frame::HEADER_LEN + IPV6_HEADER_LEN + 32;
const HOP_LIMIT: u8 = 255;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac::new([0x33, 0x33, 0, 0, 0, 1]);

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Mac = Mac::new([2, 0, 0, 0, 0, 7]);

    #[test]
    fn an_arp_announcement_asks_for_the_address_it_tells_of() {
        let bytes = announcement(OWNER, "10.0.0.7".parse().unwrap());
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!((frame.dst(), frame.src()), (Mac::BROADCAST, OWNER));
        let arp = frame.packet();
        assert_eq!(arp[..8], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(arp[8..14], OWNER.octets());
        let address = &[10, 0, 0, 7][..];
        assert_eq!((&arp[14..18], &arp[24..28]), (address, address));
        assert_eq!(Question::read(&frame, None), None);
    }

    #[test]
    fn an_advertisement_that_nobody_asked_for_overrides_what_all_nodes_remember() {
        let address: Ipv6Addr = "fd00::7".parse().unwrap();
        let bytes = announcement(OWNER, address.into());
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!((frame.dst(), frame.src()), (ALL_NODES_MAC, OWNER));
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!(ipv6(packet.source(&frame)), Some(address));
        let message = packet.transport(&frame);
        assert_eq!(message[0], NEIGHBOR_ADVERTISEMENT);
        assert_eq!(message[4], FLAG_OVERRIDE);
        assert_eq!(ipv6(&message[8..24]), Some(address));
        assert_eq!(message[26..32], OWNER.octets());
        let pseudo_header = checksum::sum(0, &frame.packet()[8..40])
            + checksum::number(ADVERTISEMENT_MESSAGE_LEN)
            + checksum::number(u16::from(protocol::ICMPV6));
        assert!(checksum::verifies(pseudo_header, message));
    }
}
