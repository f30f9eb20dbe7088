//! Frames that are made up, as a station would send them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;

use crate::bytes::put_be16;
use crate::frame::ethertype;
use crate::packet::protocol;
use crate::{Frame, Mac, checksum};

/// A frame from one station to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub src: Mac,
    pub dst: Mac,
    /// Where source and destination are not of one family, and where one is absent, the frame carries no packet.
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    pub payload: Payload,
}

/// What it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A request for an echo.
    Echo,
    /// A datagram to the port.
    Udp(u16),
    /// The first segment of a connection to the port.
    Tcp(u16),
    /// Who has the destination? By ARP or neighbor discovery; `dst` does not matter.
    WhoHas,
}

impl Sample {
    /// The frame's bytes; its checksums are right.
    pub fn to_bytes(&self) -> Vec<u8> {
        match (self.source, self.destination, self.payload) {
            (Some(IpAddr::V4(from)), Some(IpAddr::V4(to)), Payload::WhoHas) => {
                self.arp_request(from, to)
            }
            (Some(IpAddr::V6(from)), Some(IpAddr::V6(to)), Payload::WhoHas) => {
                self.solicitation(from, to)
            }
            (Some(IpAddr::V4(from)), Some(IpAddr::V4(to)), _) => {
                let link = PacketBuilder::ethernet2(self.src.octets(), self.dst.octets());
                self.carry(link.ipv4(from.octets(), to.octets(), HOPS))
            }
            (Some(IpAddr::V6(from)), Some(IpAddr::V6(to)), _) => {
                let link = PacketBuilder::ethernet2(self.src.octets(), self.dst.octets());
                self.carry(link.ipv6(from.octets(), to.octets(), HOPS))
            }
            _ => self.bare(),
        }
    }

    fn carry(&self, packet: etherparse::PacketBuilderStep<etherparse::IpHeaders>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let is_v6 = matches!(self.destination, Some(IpAddr::V6(_)));
        // Writing to memory fails only where a packet is longer than its header can say.
        let _ = match self.payload {
            Payload::Udp(udp_port) => packet.udp(CLIENT, udp_port).write(&mut bytes, b"trace"),
            Payload::Tcp(port) => packet
                .tcp(CLIENT, port, 1, u16::MAX)
                .syn()
                .write(&mut bytes, &[]),
            Payload::Echo | Payload::WhoHas if is_v6 => {
                packet.icmpv6_echo_request(1, 1).write(&mut bytes, b"trace")
            }
            Payload::Echo | Payload::WhoHas => {
                packet.icmpv4_echo_request(1, 1).write(&mut bytes, b"trace")
            }
        };
        bytes
    }

    // RFC 826.
    fn arp_request(&self, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        let mut bytes = self.header(Mac::BROADCAST, ethertype::ARP);
        bytes.extend([0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.extend(self.src.octets());
        bytes.extend(from.octets());
        bytes.extend([0; 6]);
        bytes.extend(to.octets());
        bytes
    }

    // RFC 4861 §4.3, to the solicited-node group (RFC 4291 §2.7.1).
    fn solicitation(&self, from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
        let [.., a, b, c] = to.octets();
        let group = Ipv6Addr::new(
            0xff02,
            0,
            0,
            0,
            0,
            1,
            0xff00 | u16::from(a),
            u16::from_be_bytes([b, c]),
        );
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(to.octets());
        message.extend([1, 1]);
        message.extend(self.src.octets());
        let addresses = [from.octets(), group.octets()].concat();
        let pseudo_header = checksum::sum(0, &addresses)
            + checksum::number(SOLICITATION_LEN)
            + checksum::number(u16::from(protocol::ICMPV6));
        let sum = checksum::finish(checksum::sum(pseudo_header, &message));
        put_be16(&mut message, 2, sum);
        let mut bytes = self.header(Mac::new([0x33, 0x33, 0xff, a, b, c]), ethertype::IPV6);
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(SOLICITATION_LEN.to_be_bytes());
        bytes.extend([protocol::ICMPV6, 255]);
        bytes.extend(from.octets());
        bytes.extend(group.octets());
        bytes.extend(message);
        bytes
    }

    /// Of an EtherType that is for experiments (IEEE 802 §9.2.4), as long as a frame must be.
    fn bare(&self) -> Vec<u8> {
        let mut bytes = self.header(self.dst, EXPERIMENTAL);
        bytes.resize(SHORTEST, 0);
        bytes
    }

    fn header(&self, dst: Mac, ethertype: u16) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Frame::HEADER_LEN + 72);
        bytes.extend(dst.octets());
        bytes.extend(self.src.octets());
        bytes.extend(ethertype.to_be_bytes());
        bytes
    }
}

const HOPS: u8 = 64;
/// With the link-layer address of who asks.
const SOLICITATION_LEN: u16 = 32;
/// Of the ports that are nobody's (RFC 6335 §6).
const CLIENT: u16 = 49_152;
const EXPERIMENTAL: u16 = 0x88b5;
/// Without the frame check sequence (IEEE 802.3 §4.2.3.3).
const SHORTEST: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_checksums;
    use crate::trace::Summary;

    fn sample(v6: bool, payload: Payload) -> Sample {
        let address = |n: u8| match v6 {
            false => IpAddr::from([172, 17, 0, n]),
            true => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xab, u16::from(n)).into(),
        };
        Sample {
            src: Mac::new([2, 0, 0, 0, 0, 2]),
            dst: Mac::new([2, 0, 0, 0, 0, 3]),
            source: Some(address(2)),
            destination: Some(address(3)),
            payload,
        }
    }

    fn told(bytes: &[u8]) -> Option<String> {
        Summary::of(&Frame::parse(bytes).unwrap()).packet()
    }

    #[test]
    fn a_sample_is_what_a_station_sends() {
        for (payload, v4, v6) in [
            (
                Payload::Echo,
                "172.17.0.2 > 172.17.0.3, ICMP echo request",
                "fd00::ab:2 > fd00::ab:3, ICMPv6 echo request",
            ),
            (
                Payload::Udp(53),
                "172.17.0.2 > 172.17.0.3, UDP 49152 > 53",
                "fd00::ab:2 > fd00::ab:3, UDP 49152 > 53",
            ),
            (
                Payload::Tcp(80),
                "172.17.0.2 > 172.17.0.3, TCP 49152 > 80",
                "fd00::ab:2 > fd00::ab:3, TCP 49152 > 80",
            ),
            (
                Payload::WhoHas,
                "172.17.0.2 asks who has 172.17.0.3",
                "fd00::ab:2 > ff02::1:ffab:3, ICMPv6 neighbor solicitation",
            ),
        ] {
            for (is_v6, expected) in [(false, v4), (true, v6)] {
                let bytes = sample(is_v6, payload).to_bytes();
                assert_eq!(told(&bytes).as_deref(), Some(expected));
                if matches!(payload, Payload::Udp(_) | Payload::Tcp(_)) {
                    assert_checksums(&bytes);
                }
            }
        }
    }

    #[test]
    fn without_an_address_there_is_no_packet() {
        let bytes = Sample {
            source: None,
            ..sample(false, Payload::Udp(53))
        };
        let bytes = bytes.to_bytes();
        assert_eq!((told(&bytes), bytes.len()), (None, SHORTEST));
    }
}
