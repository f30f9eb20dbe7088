//! What a sender left open, told from the bytes alone.
//!
//! # Theory of operation
//!
//! A sender that leaves a checksum to the device below puts the sum of the pseudo-header into the field (RFC 9293 §3.1), and
//! says in metadata where summing starts. Where that metadata is lost, the field tells: a TCP or UDP packet whose field holds
//! nothing but that sum is unfinished. A complete checksum that happens to look so, one in 65,536, comes out the same when it
//! is computed again.
//!
//! The packet may lie inside others: a sandbox may have tunnels of its own, and only the innermost checksum is ever left
//! open. So the walk goes inwards, through IP in IP, GRE, VXLAN on any UDP port and Geneve, at most [`DEPTH_MAX`] deep. A
//! checksum around the packet that is right as it stands says that nothing is missing inside: the kernel computes it for the
//! bytes that there will be once the inner one is complete.

use crate::bytes::be16;
use crate::frame::ethertype;
use crate::packet::{Fragment, Packet, UDP_HEADER_LEN, Version, protocol};
use crate::vnet::{TCP_CHECKSUM, UDP_CHECKSUM};
use crate::{Frame, checksum};

/// A checksum that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Where summing starts, from the start of the frame.
    pub start: usize,
    /// Where the sum goes, from there.
    pub offset: u16,
    /// The frame's own TCP packet, if it is that one's checksum.
    pub tcp: Option<UnfinishedTcp>,
}

/// A TCP packet that is inside no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedTcp {
    pub is_v4: bool,
    /// Bytes of the IP packet, and of those its headers, TCP's included.
    pub packet_len: usize,
    pub headers_len: usize,
}

impl Unfinished {
    pub fn find(frame: &Frame<'_>) -> Option<Self> {
        let bytes = frame.bytes();
        let outer = Packet::parse(frame)?;
        let mut packet = outer;
        for depth in 0..DEPTH_MAX {
            if packet.fragment != Fragment::Whole {
                return None;
            }
            if let Some(offset) = open_checksum(&packet, bytes) {
                return Some(Self {
                    start: packet.transport,
                    offset,
                    tcp: (depth == 0).then(|| tcp(&packet, bytes)).flatten(),
                });
            }
            packet = inside(&packet, bytes)?;
        }
        None
    }
}

/// The offset of the packet's checksum, if nothing but the pseudo-header is in it.
fn open_checksum(packet: &Packet, bytes: &[u8]) -> Option<u16> {
    let offset = match packet.protocol {
        protocol::TCP => TCP_CHECKSUM,
        protocol::UDP => UDP_CHECKSUM,
        _ => return None,
    };
    let transport = &bytes[packet.transport..packet.end];
    let field = transport.get(usize::from(offset)..)?.get(..2)?;
    let open = checksum::fold(checksum::pseudo_header(packet, bytes, transport.len()));
    (be16(field, 0) == open).then_some(offset)
}

fn tcp(packet: &Packet, bytes: &[u8]) -> Option<UnfinishedTcp> {
    if packet.protocol != protocol::TCP {
        return None;
    }
    let header_len = usize::from(bytes[..packet.end].get(packet.transport + 12)? >> 4) * 4;
    Some(UnfinishedTcp {
        is_v4: packet.version == Version::V4,
        packet_len: packet.end - packet.start,
        headers_len: packet.transport - packet.start + header_len,
    })
}

/// The packet that `packet` carries, if its sender may have left that one open.
fn inside(packet: &Packet, bytes: &[u8]) -> Option<Packet> {
    let (at, ethertype) = match packet.protocol {
        protocol::IPV4 => (packet.transport, ethertype::IPV4),
        protocol::IPV6 => (packet.transport, ethertype::IPV6),
        protocol::GRE => in_gre(packet, bytes)?,
        protocol::UDP => in_udp(packet, bytes)?,
        _ => return None,
    };
    let bytes = &bytes[..packet.end];
    let inner = match ethertype {
        ethertype::IPV4 => Packet::parse_v4(bytes, at)?,
        ethertype::IPV6 => Packet::parse_v6(bytes, at)?,
        ETHERNET => {
            let frame = Frame::parse(bytes.get(at..)?).ok()?;
            let start = at + frame.packet_offset();
            match frame.ethertype() {
                ethertype::IPV4 => Packet::parse_v4(bytes, start)?,
                ethertype::IPV6 => Packet::parse_v6(bytes, start)?,
                _ => return None,
            }
        }
        _ => return None,
    };
    // Summing goes on to the end of the frame.
    (inner.end == packet.end).then_some(inner)
}

/// RFC 2784 §2, RFC 2890 §2: where the payload starts, and its type.
fn in_gre(packet: &Packet, bytes: &[u8]) -> Option<(usize, u16)> {
    let header = bytes[packet.transport..packet.end].get(..4)?;
    let flags = be16(header, 0);
    let [checksum, key, sequence] = [0x8000, 0x2000, 0x1000].map(|flag| flags & flag != 0);
    if flags & !0xb000 != 0
        || checksum && checksum::verifies(0, &bytes[packet.transport..packet.end])
    {
        return None;
    }
    let words = [checksum, key, sequence].into_iter().filter(|has| *has);
    let payload = packet.transport + 4 + 4 * words.count();
    (payload <= packet.end).then(|| (payload, be16(header, 2)))
}

/// RFC 7348 §5, RFC 8926 §3.4: where the payload starts, and its type.
fn in_udp(packet: &Packet, bytes: &[u8]) -> Option<(usize, u16)> {
    let transport = &bytes[packet.transport..packet.end];
    let header = transport.get(UDP_HEADER_LEN..UDP_HEADER_LEN + TUNNEL_HEADER_LEN)?;
    let payload = packet.transport + UDP_HEADER_LEN + TUNNEL_HEADER_LEN;
    let found = if be16(transport, 2) == GENEVE_UDP_PORT && header[0] >> 6 == 0 {
        let options = usize::from(header[0] & 0x3f) * 4;
        (payload + options, be16(header, 2))
    } else if header[..4] == VXLAN_FLAGS && header[7] == 0 {
        (payload, ETHERNET)
    } else {
        return None;
    };
    let has_checksum = be16(transport, usize::from(UDP_CHECKSUM)) != 0;
    let pseudo_header = checksum::pseudo_header(packet, bytes, transport.len());
    let is_right = has_checksum && checksum::verifies(pseudo_header, transport);
    (!is_right && found.0 <= packet.end).then_some(found)
}

/// Packets inside packets; more are not looked into.
const DEPTH_MAX: usize = 4;
/// Transparent Ethernet bridging, the type of a whole frame (RFC 7637 §3.2).
const ETHERNET: u16 = 0x6558;
const GENEVE_UDP_PORT: u16 = 6081;
/// VXLAN's header, and Geneve's without options.
const TUNNEL_HEADER_LEN: usize = 8;
/// The I flag and nothing else.
const VXLAN_FLAGS: [u8; 4] = [8, 0, 0, 0];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::VnetHeader;
    use crate::bytes::put_be16;
    use crate::testing::{Header, frame};

    /// What goes around a packet or a frame.
    #[derive(Clone, Copy, Debug)]
    enum Wrap {
        Ip,
        Gre,
        GreEthernet,
        Vxlan,
        Geneve,
    }

    const WRAPS: [Wrap; 5] = [
        Wrap::Ip,
        Wrap::Gre,
        Wrap::GreEthernet,
        Wrap::Vxlan,
        Wrap::Geneve,
    ];

    /// `inner` in an IPv4 packet; a tunnel over UDP has no checksum.
    fn wrap(how: Wrap, inner: &[u8]) -> Vec<u8> {
        let packet = &inner[14..];
        let udp = |port: u16, header: &[u8], payload: &[u8]| {
            let len = u16::try_from(8 + header.len() + payload.len()).unwrap();
            let ends = [0x1234, port, len, 0].map(u16::to_be_bytes).concat();
            [&ends, header, payload].concat()
        };
        let (protocol, payload) = match how {
            Wrap::Ip if inner[12] == 8 => (protocol::IPV4, packet.to_vec()),
            Wrap::Ip => (protocol::IPV6, packet.to_vec()),
            // With a key.
            Wrap::Gre => {
                let header = [0x20, 0, inner[12], inner[13], 0, 0, 0, 9];
                (protocol::GRE, [&header, packet].concat())
            }
            Wrap::GreEthernet => (protocol::GRE, [&[0, 0, 0x65, 0x58], inner].concat()),
            Wrap::Vxlan => (protocol::UDP, udp(7777, &[8, 0, 0, 0, 0, 0, 7, 0], inner)),
            Wrap::Geneve => {
                let header = [1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 1, 0, 0];
                (protocol::UDP, udp(GENEVE_UDP_PORT, &header, inner))
            }
        };
        let mut bytes = inner[..12].to_vec();
        bytes.extend([8, 0, 0x45, 0]);
        bytes.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
        bytes.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(payload);
        bytes
    }

    fn find(bytes: &[u8]) -> Option<Unfinished> {
        Unfinished::find(&Frame::parse(bytes).unwrap())
    }

    fn completed(bytes: &[u8]) -> Vec<u8> {
        let found = find(bytes).unwrap();
        let mut raw = [0; VnetHeader::LEN];
        raw[0] = 1;
        raw[6..8].copy_from_slice(&u16::try_from(found.start).unwrap().to_ne_bytes());
        raw[8..10].copy_from_slice(&found.offset.to_ne_bytes());
        let vnet = VnetHeader::validate(&raw, &Frame::parse(bytes).unwrap()).unwrap();
        let mut bytes = bytes.to_vec();
        vnet.complete_checksum(&mut bytes);
        bytes
    }

    #[test]
    fn an_open_checksum_is_found_at_every_depth() {
        for header in Header::all().filter(|header| header.vlans == 0) {
            let whole = frame(&header, b"payload");
            let mut open = whole.clone();
            header.leave_checksum_open(&mut open);
            assert_eq!(completed(&open), whole);
            for outer in WRAPS {
                let (open, whole) = (wrap(outer, &open), wrap(outer, &whole));
                assert_eq!(completed(&open), whole, "{outer:?} {header:?}");
                assert_eq!(find(&whole), None, "{outer:?} {header:?}");
                assert_eq!(find(&open).unwrap().tcp, None);
                for outermost in WRAPS {
                    let (open, whole) = (wrap(outermost, &open), wrap(outermost, &whole));
                    assert_eq!(
                        completed(&open),
                        whole,
                        "{outermost:?} {outer:?} {header:?}"
                    );
                }
            }
        }
    }

    /// As a mirror port sends what it saw: open on the link it was seen on, and part of a datagram that is complete.
    #[test]
    fn what_a_right_checksum_covers_is_left_alone() {
        let header = Header::default();
        let mut open = frame(&header, b"payload");
        header.leave_checksum_open(&mut open);
        let mut seen = wrap(Wrap::Vxlan, &open);
        let packet = Packet::parse(&Frame::parse(&seen).unwrap()).unwrap();
        let transport = &seen[packet.transport..];
        let sum = checksum::pseudo_header(&packet, &seen, transport.len());
        let sum = checksum::finish(checksum::sum(sum, transport));
        put_be16(&mut seen, packet.transport + 6, sum);
        assert_eq!(find(&seen), None);
    }

    #[test]
    fn a_frame_with_padding_or_a_fragment_inside_is_left_alone() {
        let header = Header::default();
        let mut open = frame(&header, b"payload");
        header.leave_checksum_open(&mut open);
        let mut padded = open.clone();
        padded.extend([0; 4]);
        assert_eq!(find(&wrap(Wrap::Vxlan, &padded)), None);
        let mut fragment = open;
        fragment[20] |= 0x20;
        assert_eq!(find(&wrap(Wrap::Vxlan, &fragment)), None);
    }

    proptest! {
        #[test]
        fn no_frame_is_beyond_reading(
            inner in proptest::collection::vec(any::<u8>(), 14..120),
            how in 0..WRAPS.len(),
            cut in 0..40_usize,
        ) {
            let mut inner = inner;
            inner[0] = 2;
            inner[6] = 2;
            let mut bytes = wrap(WRAPS[how], &inner);
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Ok(frame) = Frame::parse(&bytes)
                && let Some(found) = Unfinished::find(&frame)
            {
                prop_assert!(found.start + usize::from(found.offset) + 2 <= bytes.len());
            }
        }
    }
}
