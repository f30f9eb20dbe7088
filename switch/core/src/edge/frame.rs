//! Ethernet, IP and UDP framing for what the edge sends and receives beside smoltcp.
//!
//! smoltcp runs on bare IP packets, so its packets get their Ethernet header here; DHCP and DNS datagrams are framed
//! whole. Every frame made here is complete: lengths set, checksums computed, untagged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket, UdpRepr,
};

use crate::Mac;

/// The parts of an untagged Ethernet II frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ethernet<'a> {
    pub(super) destination: Mac,
    pub(super) source: Mac,
    pub(super) ethertype: u16,
    pub(super) packet: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// `None` when the frame is shorter than its header.
    pub(super) fn parse(frame: &'a [u8]) -> Option<Self> {
        let (destination, rest) = frame.split_first_chunk::<6>()?;
        let (source, rest) = rest.split_first_chunk::<6>()?;
        let (ethertype, packet) = rest.split_first_chunk::<2>()?;
        Some(Self {
            destination: Mac::new(*destination),
            source: Mac::new(*source),
            ethertype: u16::from_be_bytes(*ethertype),
            packet,
        })
    }
}

/// The parts of an IP packet that decide who gets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: IpProtocol,
    pub(super) fragment: bool,
    /// What follows the IP header, without Ethernet padding.
    pub(super) payload: &'a [u8],
}

impl<'a> Ip<'a> {
    /// `None` when lengths do not hold together or the IPv4 header checksum is wrong.
    pub(super) fn parse(ethertype: u16, packet: &'a [u8]) -> Option<Self> {
        match ethertype {
            ETHERTYPE_IPV4 => Self::parse_ipv4(packet),
            ETHERTYPE_IPV6 => Self::parse_ipv6(packet),
            _ => None,
        }
    }

    fn parse_ipv4(packet: &'a [u8]) -> Option<Self> {
        let packet = Ipv4Packet::new_checked(packet).ok()?;
        if packet.version() != 4 || !packet.verify_checksum() {
            return None;
        }
        Some(Self {
            source: packet.src_addr().into(),
            destination: packet.dst_addr().into(),
            protocol: packet.next_header(),
            fragment: packet.more_frags() || packet.frag_offset() != 0,
            payload: packet.payload(),
        })
    }

    fn parse_ipv6(packet: &'a [u8]) -> Option<Self> {
        let packet = Ipv6Packet::new_checked(packet).ok()?;
        if packet.version() != 6 {
            return None;
        }
        Some(Self {
            source: packet.src_addr().into(),
            destination: packet.dst_addr().into(),
            protocol: packet.next_header(),
            fragment: packet.next_header() == IpProtocol::Ipv6Frag,
            payload: packet.payload(),
        })
    }

    /// The packet as a UDP datagram; its checksum is not looked at (see the module above).
    pub(super) fn udp(&self) -> Option<Datagram<'a>> {
        let udp = UdpPacket::new_checked(self.payload).ok()?;
        let end = usize::from(udp.len());
        Some(Datagram {
            source: SocketAddr::new(self.source, udp.src_port()),
            destination: SocketAddr::new(self.destination, udp.dst_port()),
            payload: self.payload.get(UDP_HEADER..end)?,
        })
    }

    /// The port that a TCP segment goes to, where the segment does not begin a connection.
    pub(super) fn later_segment(&self) -> Option<u16> {
        let tcp = (self.protocol == IpProtocol::Tcp).then_some(self.payload)?;
        let tcp = TcpPacket::new_checked(tcp).ok()?;
        (!tcp.syn() || tcp.ack()).then(|| tcp.dst_port())
    }
}

/// A UDP datagram and its two ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) payload: &'a [u8],
}

impl Datagram<'_> {
    /// The complete frame carrying this datagram. `None` when the two ends are of different families or the packet
    /// would exceed `mtu`.
    pub(super) fn to_frame(self, source: Mac, destination: Mac, mtu: u16) -> Option<Vec<u8>> {
        let header = self.ip_header()?;
        let total = header.buffer_len();
        if total > usize::from(mtu) {
            return None;
        }
        let mut frame = ethernet_header(source, destination, self.ethertype());
        frame.resize(ETHERNET_HEADER + total, 0);
        let packet = frame.get_mut(ETHERNET_HEADER..)?;
        let checksums = ChecksumCapabilities::default();
        header.emit(&mut *packet, &checksums);
        let datagram = packet.get_mut(header.header_len()..)?;
        UdpRepr {
            src_port: self.source.port(),
            dst_port: self.destination.port(),
        }
        .emit(
            &mut UdpPacket::new_unchecked(datagram),
            &header.src_addr(),
            &header.dst_addr(),
            self.payload.len(),
            |bytes| bytes.copy_from_slice(self.payload),
            &checksums,
        );
        Some(frame)
    }

    fn ip_header(&self) -> Option<IpRepr> {
        if self.source.is_ipv4() != self.destination.is_ipv4() {
            return None;
        }
        Some(IpRepr::new(
            IpAddress::from(self.source.ip()),
            IpAddress::from(self.destination.ip()),
            IpProtocol::Udp,
            UDP_HEADER + self.payload.len(),
            HOP_LIMIT,
        ))
    }

    fn ethertype(&self) -> u16 {
        ethertype_of(self.destination.ip())
    }
}

/// Puts the Ethernet header before an IP packet. `None` when `packet` is neither IPv4 nor IPv6.
pub(super) fn attach(source: Mac, destination: Mac, packet: &[u8]) -> Option<Vec<u8>> {
    let ethertype = match packet.first()? >> 4 {
        4 => ETHERTYPE_IPV4,
        6 => ETHERTYPE_IPV6,
        _ => return None,
    };
    let mut frame = ethernet_header(source, destination, ethertype);
    frame.extend_from_slice(packet);
    Some(frame)
}

/// Where one of smoltcp's own packets goes, with its TCP port or 0 for other protocols.
pub(super) fn destination_of(packet: &[u8]) -> Option<SocketAddr> {
    let ethertype = match packet.first()? >> 4 {
        4 => ETHERTYPE_IPV4,
        _ => ETHERTYPE_IPV6,
    };
    let parsed = Ip::parse(ethertype, packet)?;
    let udp_or_tcp_port = match parsed.protocol {
        IpProtocol::Tcp => TcpPacket::new_checked(parsed.payload).ok()?.dst_port(),
        _ => 0,
    };
    Some(SocketAddr::new(parsed.destination, udp_or_tcp_port))
}

/// Where a packet comes from, with its TCP port or 0 for other protocols.
pub(super) fn source_of(packet: &Ip<'_>) -> SocketAddr {
    let tcp_port = match (packet.protocol, packet.payload) {
        (IpProtocol::Tcp, [high, low, ..]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    SocketAddr::new(packet.source, tcp_port)
}

/// Whether a host may use `address` as its own.
pub(super) fn is_host_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4 == Ipv4Addr::BROADCAST),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6 == Ipv6Addr::LOCALHOST),
    }
}

fn ethernet_header(source: Mac, destination: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_HEADER);
    frame.extend_from_slice(&destination.octets());
    frame.extend_from_slice(&source.octets());
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame
}

fn ethertype_of(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => ETHERTYPE_IPV4,
        IpAddr::V6(_) => ETHERTYPE_IPV6,
    }
}

pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERNET_HEADER: usize = 14;
const UDP_HEADER: usize = 8;
const HOP_LIMIT: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    fn datagram<'a>(source: &str, destination: &str, payload: &'a [u8]) -> Datagram<'a> {
        Datagram {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            payload,
        }
    }

    #[test]
    fn datagram_round_trips_in_both_families() {
        for (source, destination) in [
            ("10.0.0.1:53", "10.0.0.2:4000"),
            ("[fd00::1]:53", "[fd00::2]:4000"),
        ] {
            let frame = datagram(source, destination, b"hello")
                .to_frame(A, B, 1500)
                .unwrap();
            let ethernet = Ethernet::parse(&frame).unwrap();
            assert_eq!((ethernet.source, ethernet.destination), (A, B));
            let packet = Ip::parse(ethernet.ethertype, ethernet.packet).unwrap();
            let udp = packet.udp().unwrap();
            assert_eq!(udp.source.to_string(), source);
            assert_eq!(udp.destination.to_string(), destination);
            assert_eq!(udp.payload, b"hello");
            let checked = UdpPacket::new_checked(packet.payload).unwrap();
            assert!(checked.verify_checksum(&packet.source.into(), &packet.destination.into()));
        }
    }

    #[test]
    fn packet_longer_than_mtu_is_not_framed() {
        let payload = [0; 1473];
        let fits = datagram("10.0.0.1:1", "10.0.0.2:2", &payload[..1472]);
        assert_eq!(fits.to_frame(A, B, 1500).unwrap().len(), 1514);
        let long = datagram("10.0.0.1:1", "10.0.0.2:2", &payload);
        assert!(long.to_frame(A, B, 1500).is_none());
    }

    #[test]
    fn corrupt_ipv4_header_is_refused() {
        let mut frame = datagram("10.0.0.1:1", "10.0.0.2:2", b"x")
            .to_frame(A, B, 1500)
            .unwrap();
        frame[14 + 8] ^= 1;
        let ethernet = Ethernet::parse(&frame).unwrap();
        assert!(Ip::parse(ethernet.ethertype, ethernet.packet).is_none());
    }
}
