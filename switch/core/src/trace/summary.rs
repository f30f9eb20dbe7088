//! A frame in a few words.

use std::fmt;
use std::net::IpAddr;

use crate::bytes::be16;
use crate::frame::ethertype;
use crate::guard::{ARP_LEN, is_ipv4_arp};
use crate::packet::{Fragment, Packet, protocol};
use crate::{Frame, Mac};

/// What people ask of a frame first. Of a tagged frame, what it carries is another network's, and only the tag is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub src: Mac,
    pub dst: Mac,
    /// The outermost VLAN identifier; priority tags do not count.
    pub vid: Option<u16>,
    pub ethertype: u16,
    /// Of the frame, in bytes.
    pub len: usize,
    /// Source and destination of a packet; sender and target of ARP.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The IP protocol number.
    pub protocol: Option<u8>,
    /// Source and destination port of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// The type of ICMP, the operation of ARP.
    pub message: Option<u16>,
}

impl Summary {
    pub fn of(frame: &Frame<'_>) -> Self {
        let mut summary = Self {
            src: frame.src(),
            dst: frame.dst(),
            vid: frame.vids().iter().copied().find(|vid| *vid != 0),
            ethertype: frame.ethertype(),
            len: frame.bytes().len(),
            addresses: None,
            protocol: None,
            ports: None,
            message: None,
        };
        if !frame.is_untagged() {
            return summary;
        }
        if frame.ethertype() == ethertype::ARP {
            summary.read_arp(frame.packet());
        } else if let Some(packet) = Packet::parse(frame) {
            summary.read_packet(frame, &packet);
        }
        summary
    }

    fn read_arp(&mut self, arp: &[u8]) {
        let Some(arp) = arp.get(..ARP_LEN).filter(|arp| is_ipv4_arp(arp)) else {
            return;
        };
        self.addresses = address(&arp[14..18]).zip(address(&arp[24..28]));
        self.message = Some(be16(arp, 6));
    }

    fn read_packet(&mut self, frame: &Frame<'_>, packet: &Packet) {
        self.addresses = address(packet.source(frame)).zip(address(packet.destination(frame)));
        self.protocol = Some(packet.protocol);
        if packet.fragment == Fragment::Later {
            return;
        }
        let transport = packet.transport(frame);
        match packet.protocol {
            protocol::TCP | protocol::UDP => {
                let ports = transport.get(..4);
                self.ports = ports.map(|ports| (be16(ports, 0), be16(ports, 2)));
            }
            protocol::ICMP | protocol::ICMPV6 => {
                self.message = transport.first().map(|kind| u16::from(*kind));
            }
            _ => {}
        }
    }

    /// `02:…:02 > 02:…:03, IPv4, 98 bytes`.
    pub fn link(&self) -> String {
        let vid = self.vid.map(|vid| format!("VLAN {vid}, "));
        let (src, dst, vid) = (self.src, self.dst, vid.unwrap_or_default());
        let kind = match self.ethertype {
            ethertype::IPV4 => "IPv4".to_owned(),
            ethertype::IPV6 => "IPv6".to_owned(),
            ethertype::ARP => "ARP".to_owned(),
            other => format!("EtherType 0x{other:04x}"),
        };
        format!("{src} > {dst}, {vid}{kind}, {} bytes", self.len)
    }

    /// `172.17.0.2 > 172.17.0.3, UDP 4000 > 53`; nothing where it carries no packet.
    pub fn packet(&self) -> Option<String> {
        let (from, to) = self.addresses?;
        if self.ethertype == ethertype::ARP {
            return Some(match self.message {
                Some(ARP_REQUEST) => format!("{from} asks who has {to}"),
                _ => format!("{from} tells {to} its MAC"),
            });
        }
        let carried = match (self.protocol, self.ports) {
            (Some(protocol::TCP), Some((from, to))) => format!("TCP {from} > {to}"),
            (Some(protocol::UDP), Some((from, to))) => format!("UDP {from} > {to}"),
            (Some(protocol::ICMP), _) => format!("ICMP{}", self.message_words()),
            (Some(protocol::ICMPV6), _) => format!("ICMPv6{}", self.message_words()),
            (number, _) => format!("protocol {}", number.unwrap_or_default()),
        };
        Some(format!("{from} > {to}, {carried}"))
    }

    fn message_words(&self) -> String {
        match (self.protocol, self.message) {
            (Some(protocol::ICMP), Some(8)) | (Some(protocol::ICMPV6), Some(128)) => {
                " echo request".to_owned()
            }
            (Some(protocol::ICMP), Some(0)) | (Some(protocol::ICMPV6), Some(129)) => {
                " echo reply".to_owned()
            }
            (Some(protocol::ICMPV6), Some(134)) => " router advertisement".to_owned(),
            (Some(protocol::ICMPV6), Some(135)) => " neighbor solicitation".to_owned(),
            (Some(protocol::ICMPV6), Some(136)) => " neighbor advertisement".to_owned(),
            (_, Some(kind)) => format!(" type {kind}"),
            (_, None) => String::new(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.link())?;
        match self.packet() {
            Some(packet) => write!(f, ", {packet}"),
            None => Ok(()),
        }
    }
}

/// Of 4 or 16 bytes.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|octets| (*octets).into()),
        _ => bytes.first_chunk::<16>().map(|octets| (*octets).into()),
    }
}

const ARP_REQUEST: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Header, Transport};

    fn told(bytes: &[u8]) -> String {
        Summary::of(&Frame::parse(bytes).unwrap()).to_string()
    }

    #[test]
    fn a_frame_is_told_in_words() {
        let header = Header {
            transport: Transport::Udp,
            ..Header::default()
        };
        assert_eq!(
            told(&testing::frame(&header, b"x")),
            "02:00:00:00:00:01 > 02:00:00:00:00:02, IPv4, 43 bytes, 172.17.0.2 > 172.17.0.3, UDP 4000 > 5000"
        );
        let tagged = Header { vlans: 1, ..header };
        assert_eq!(
            told(&testing::frame(&tagged, b"x")),
            "02:00:00:00:00:01 > 02:00:00:00:00:02, VLAN 100, IPv4, 47 bytes",
            "what it carries is another network's"
        );
        let strange = [&[1; 6][..], &[2; 6], &[0x88, 0xb5], &[0; 46]].concat();
        assert_eq!(
            told(&strange),
            "02:02:02:02:02:02 > 01:01:01:01:01:01, EtherType 0x88b5, 60 bytes"
        );
    }
}
