//! Frames by hand, and their checksums: an implementation of its own, so that the switch is not checked against itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use switch_core::Mac;
use switch_io::packet::{PacketFrame, PacketSocket, VNET_LENGTH};

pub(crate) type Vnet = [u8; VNET_LENGTH];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    const fn header_length(self) -> usize {
        match self {
            Self::Tcp => 20,
            Self::Udp => 8,
        }
    }

    /// Of the checksum field in the header.
    pub(crate) const fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// One TCP segment or UDP datagram, with everything above and below it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) source_mac: Mac,
    pub(crate) destination_mac: Mac,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) transport: Transport,
    pub(crate) port: u16,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    /// The Ethernet frame, its transport checksum complete.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = self.seeded();
        let (start, field) = (self.transport_start(), self.checksum_field());
        finish(&mut frame, start, field, self.transport);
        frame
    }

    /// The frame with only the pseudo-header summed, and the vnet header that says so.
    pub(crate) fn partial(&self) -> (Vec<u8>, Vnet) {
        (self.seeded(), self.vnet(0, 0))
    }

    /// The frame as a superframe whose segments carry `size` bytes each.
    pub(crate) fn superframe(&self, size: u16) -> (Vec<u8>, Vnet) {
        let gso_type = match (self.transport, self.destination) {
            (Transport::Tcp, IpAddr::V4(_)) => GSO_TCPV4,
            (Transport::Tcp, IpAddr::V6(_)) => GSO_TCPV6,
            (Transport::Udp, _) => GSO_UDP_L4,
        };
        (self.seeded(), self.vnet(gso_type, size))
    }

    pub(crate) fn transport_start(&self) -> usize {
        ETHERNET
            + if self.destination.is_ipv4() {
                IPV4
            } else {
                IPV6
            }
    }

    pub(crate) fn checksum_field(&self) -> usize {
        self.transport_start() + self.transport.checksum_offset()
    }

    /// Changes the last two bytes of the payload so that the transport checksum comes out as zero.
    pub(crate) fn sum_to_zero(&mut self) {
        assert!(self.payload.len() >= 2 && self.payload.len().is_multiple_of(2));
        let end = self.payload.len() - 2;
        self.payload[end..].fill(0);
        let frame = self.seeded();
        let rest = checksum(&frame[self.transport_start()..]);
        self.payload[end..].copy_from_slice(&rest.to_be_bytes());
    }

    fn vnet(&self, gso_type: u8, gso_size: u16) -> Vnet {
        let start = u16::try_from(self.transport_start()).unwrap();
        let header = start + u16::try_from(self.transport.header_length()).unwrap();
        let offset = u16::try_from(self.transport.checksum_offset()).unwrap();
        vnet(
            gso_type,
            if gso_type == 0 { 0 } else { header },
            gso_size,
            start,
            offset,
        )
    }

    /// With the pseudo-header's sum, not complemented, in the checksum field.
    fn seeded(&self) -> Vec<u8> {
        let length = self.transport.header_length() + self.payload.len();
        let protocol = self.transport.protocol();
        let mut frame = ip_frame(
            self.destination_mac,
            self.source_mac,
            self.source,
            self.destination,
            protocol,
            length,
        );
        let seed = !checksum(&pseudo_header(
            self.source,
            self.destination,
            protocol,
            length,
        ));
        frame.extend(SOURCE_PORT.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        match self.transport {
            Transport::Tcp => {
                frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff]);
                frame.extend(seed.to_be_bytes());
                frame.extend([0, 0]);
            }
            Transport::Udp => {
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
                frame.extend(seed.to_be_bytes());
            }
        }
        frame.extend(&self.payload);
        frame
    }
}

/// `payload` behind an Ethernet header.
pub(crate) fn ethernet(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [
        &destination.octets()[..],
        &source.octets(),
        &ethertype.to_be_bytes(),
        payload,
    ]
    .concat()
}

/// RFC 826, for IPv4 over Ethernet.
pub(crate) fn arp(
    operation: u8,
    sender_mac: Mac,
    sender: Ipv4Addr,
    target_mac: Mac,
    target: Ipv4Addr,
) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let (sender_mac, target_mac) = (sender_mac.octets(), target_mac.octets());
    [
        &head[..],
        &sender_mac,
        &sender.octets(),
        &target_mac,
        &target.octets(),
        &[0; 18],
    ]
    .concat()
}

/// An ICMPv6 message, its checksum complete; destination before source for MACs, source before destination for addresses.
pub(crate) fn icmpv6(
    (to, from): (Mac, Mac),
    (source, destination): (Ipv6Addr, Ipv6Addr),
    message: &[u8],
) -> Vec<u8> {
    let (source, destination) = (source.into(), destination.into());
    let pseudo = pseudo_header(source, destination, 58, message.len());
    let mut message = message.to_vec();
    let sum = checksum(&[&pseudo[..], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ip_frame(to, from, source, destination, 58, message.len());
    frame.extend(message);
    frame
}

/// `inner`, an Ethernet frame, in a VXLAN datagram without an outer checksum (RFC 7348 §5); the inner frame starts at
/// the returned offset.
pub(crate) fn encapsulated(outer: &Segment, inner: &[u8]) -> (Vec<u8>, usize) {
    let vxlan = [8, 0, 0, 0, 0, 0, 42, 0];
    let carrier = Segment {
        transport: Transport::Udp,
        payload: [&vxlan, inner].concat(),
        ..outer.clone()
    };
    let mut frame = carrier.seeded();
    let field = carrier.checksum_field();
    frame[field..field + 2].fill(0);
    let start = frame.len() - inner.len();
    (frame, start)
}

/// `struct virtio_net_hdr` that asks for a checksum.
pub(crate) fn vnet(
    gso_type: u8,
    header_length: u16,
    gso_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
) -> Vnet {
    let mut bytes = [NEEDS_CSUM, gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
    for (at, value) in [
        (2, header_length),
        (4, gso_size),
        (6, checksum_start),
        (8, checksum_offset),
    ] {
        bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

/// What arrived, with the checksum finished that its vnet header asks for.
pub(crate) fn finished(received: &PacketFrame) -> Vec<u8> {
    let mut frame = received.frame.clone();
    if received.vnet[0] & NEEDS_CSUM != 0 {
        let word = |at: usize| {
            usize::from(u16::from_ne_bytes([
                received.vnet[at],
                received.vnet[at + 1],
            ]))
        };
        let (start, offset) = (word(6), word(8));
        let transport = if offset == Transport::Udp.checksum_offset() {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        finish(&mut frame, start, start + offset, transport);
    }
    frame
}

/// Whether the IP header and the transport checksum of the IP packet at `offset` are right; a UDP datagram without
/// one counts as right.
pub(crate) fn checksums_hold(frame: &[u8], offset: usize) -> bool {
    let packet = &frame[offset..];
    let (source, destination, protocol, body) = match packet[0] >> 4 {
        4 => {
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            if checksum(&packet[..IPV4]) != 0 || length > packet.len() {
                return false;
            }
            (
                address4(&packet[12..16]),
                address4(&packet[16..20]),
                packet[9],
                &packet[IPV4..length],
            )
        }
        _ => {
            let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            (
                address6(&packet[8..24]),
                address6(&packet[24..40]),
                packet[6],
                &packet[IPV6..IPV6 + length],
            )
        }
    };
    if protocol == Transport::Udp.protocol() && body[6..8] == [0, 0] {
        return true;
    }
    let pseudo = pseudo_header(source, destination, protocol, body.len());
    checksum(&[&pseudo, body].concat()) == 0
}

/// The internet checksum (RFC 1071) of `bytes`.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        u64::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// The first frame within two seconds that `wanted` accepts.
pub(crate) fn receive(wire: &PacketSocket, wanted: impl Fn(&[u8]) -> bool) -> Option<PacketFrame> {
    receive_within(wire, Duration::from_secs(2), wanted)
}

pub(crate) fn receive_within(
    wire: &PacketSocket,
    limit: Duration,
    wanted: impl Fn(&[u8]) -> bool,
) -> Option<PacketFrame> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        if let Some(frame) = wire
            .receive(left)
            .unwrap()
            .filter(|received| wanted(&received.frame))
        {
            return Some(frame);
        }
    }
}

/// Whether `marker` occurs in `frame`.
pub(crate) fn contains(frame: &[u8], marker: &[u8]) -> bool {
    frame.windows(marker.len()).any(|window| window == marker)
}

fn finish(frame: &mut [u8], start: usize, field: usize, transport: Transport) {
    let sum = checksum(&frame[start..]);
    // Zero means "no checksum" in UDP (RFC 768), so a sum of zero is sent as all ones.
    let sum = if sum == 0 && transport == Transport::Udp {
        0xffff
    } else {
        sum
    };
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The frame up to and with its IP header, for `length` bytes after it.
pub(crate) fn ip_frame(
    to: Mac,
    from: Mac,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    length: usize,
) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [high, low] = u16::try_from(IPV4 + length).unwrap().to_be_bytes();
            let mut header = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            ethernet(to, from, 0x0800, &header)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, high, low, protocol, 255];
            header.extend(source.octets());
            header.extend(destination.octets());
            ethernet(to, from, 0x86dd, &header)
        }
        mixed => panic!("two families: {mixed:?}"),
    }
}

/// RFC 9293 §3.1, RFC 8200 §8.1; with the length of RFC 8200, whose extra zero bytes change no sum.
pub(crate) fn pseudo_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    length: usize,
) -> Vec<u8> {
    let mut bytes = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            [source.octets(), destination.octets()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            [source.octets(), destination.octets()].concat()
        }
        mixed => panic!("two families: {mixed:?}"),
    };
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

fn address4(bytes: &[u8]) -> IpAddr {
    <[u8; 4]>::try_from(bytes).unwrap().into()
}

fn address6(bytes: &[u8]) -> IpAddr {
    <[u8; 16]>::try_from(bytes).unwrap().into()
}

pub(crate) const PLAIN: Vnet = [0; VNET_LENGTH];
pub(crate) const NEEDS_CSUM: u8 = 1;
pub(crate) const DATA_VALID: u8 = 2;
pub(crate) const GSO_TCPV4: u8 = 1;
pub(crate) const GSO_TCPV6: u8 = 4;
pub(crate) const GSO_UDP_L4: u8 = 5;
pub(crate) const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const SOURCE_PORT: u16 = 4000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Netns;

    fn segment(transport: Transport, payload: usize) -> Segment {
        Segment {
            source_mac: Mac::new([2, 0, 0, 0, 0, 1]),
            destination_mac: Mac::new([2, 0, 0, 0, 0, 2]),
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            transport,
            port: 5000,
            payload: vec![0xa5; payload],
        }
    }

    #[test]
    fn made_frames_have_right_checksums() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let mut segment = segment(transport, 100);
            assert!(checksums_hold(&segment.frame(), ETHERNET));
            assert!(!checksums_hold(&segment.partial().0, ETHERNET));
            segment.sum_to_zero();
            let frame = segment.frame();
            let expected = if transport == Transport::Udp {
                [0xff, 0xff]
            } else {
                [0, 0]
            };
            assert_eq!(frame[segment.checksum_field()..][..2], expected);
            assert!(checksums_hold(&frame, ETHERNET));
        }
    }

    /// The tools themselves, over a kernel veth pair.
    #[test]
    fn a_veth_pair_carries_tags_partial_checksums_and_superframes() {
        let netns = Netns::new("veth");
        netns.sh(
            "ip link add left type veth peer name right; ip link set left up; ip link set right up",
        );
        let [a, b] =
            ["left", "right"].map(|link| netns.enter(|| PacketSocket::open(link)).unwrap());

        let tagged = ethernet(
            Mac::BROADCAST,
            Mac::new([2, 0, 0, 0, 0, 1]),
            0x8100,
            b"\x00\x07\x08\x06 tagged",
        );
        a.send(&PLAIN, &tagged).unwrap();
        assert_eq!(
            receive(&b, |frame| contains(frame, b"tagged"))
                .unwrap()
                .frame,
            tagged
        );

        let (frame, header) = segment(Transport::Udp, 333).partial();
        a.send(&header, &frame).unwrap();
        let received = receive(&b, |frame| contains(frame, &[0xa5; 333])).unwrap();
        assert!(checksums_hold(&finished(&received), ETHERNET));

        let (frame, header) = segment(Transport::Tcp, 44 * 1448).superframe(1448);
        a.send(&header, &frame).unwrap();
        let received = receive(&b, |frame| contains(frame, &[0xa5; 333])).unwrap();
        assert_eq!(
            (received.frame.len(), received.vnet[1]),
            (frame.len(), GSO_TCPV4)
        );
    }
}
