//! IP packets inside frames: where their headers are.
//!
//! # Theory of operation
//!
//! [`Packet::parse`] finds the transport header behind IPv4 options or an IPv6 extension chain. It checks lengths, so that
//! every offset it returns lies inside the frame, and nothing else: it does not verify checksums. The chain is walked to its
//! end, as hosts do; a header has eight bytes or more, so that costs less than the frame's copy.

use crate::Frame;
use crate::bytes::be16;
use crate::frame::ethertype;

/// The headers of an IPv4 or IPv6 packet. Offsets count from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) version: Version,
    /// What `transport` is; [`protocol::UNKNOWN`] in a first fragment that was cut within its headers.
    pub(crate) protocol: u8,
    pub(crate) start: usize,
    pub(crate) transport: usize,
    /// End of the packet; padding follows.
    pub(crate) end: usize,
    pub(crate) fragment: Fragment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    Whole,
    First,
    /// There is no transport header.
    Later,
}

impl Packet {
    /// `None` when the frame carries no IP, or IP that no host would accept.
    pub(crate) fn parse(frame: &Frame<'_>) -> Option<Self> {
        let start = frame.packet_offset();
        match frame.ethertype() {
            ethertype::IPV4 => Self::parse_v4(frame.bytes(), start),
            ethertype::IPV6 => Self::parse_v6(frame.bytes(), start),
            _ => None,
        }
    }

    // RFC 791 §3.1.
    pub(crate) fn parse_v4(bytes: &[u8], start: usize) -> Option<Self> {
        let header = bytes.get(start..start + IPV4_HEADER_LEN)?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let total_len = usize::from(be16(header, 2));
        if header[0] >> 4 != 4 || header_len < IPV4_HEADER_LEN || total_len < header_len {
            return None;
        }
        let end = start + total_len;
        if end > bytes.len() {
            return None;
        }
        let fragment_field = be16(header, 6);
        let fragment = match (fragment_field & 0x1fff, fragment_field & 0x2000) {
            (0, 0) => Fragment::Whole,
            (0, _) => Fragment::First,
            _ => Fragment::Later,
        };
        Some(Self {
            version: Version::V4,
            protocol: header[9],
            start,
            transport: start + header_len,
            end,
            fragment,
        })
    }

    // RFC 8200 §3, §4.
    pub(crate) fn parse_v6(bytes: &[u8], start: usize) -> Option<Self> {
        let header = bytes.get(start..start + IPV6_HEADER_LEN)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let end = match be16(header, 4) {
            // RFC 2675 §3: the length is in an option. Linux reads on even if there is none, so the guard must too.
            0 if header[6] == protocol::HOP_BY_HOP => bytes.len(),
            payload_len => start + IPV6_HEADER_LEN + usize::from(payload_len),
        };
        if end > bytes.len() {
            return None;
        }
        let mut packet = Self {
            version: Version::V6,
            protocol: header[6],
            start,
            transport: start + IPV6_HEADER_LEN,
            end,
            fragment: Fragment::Whole,
        };
        while let Some(is_skipped) = packet.skip_extension(bytes) {
            if !is_skipped {
                if packet.is_cut() {
                    packet.protocol = protocol::UNKNOWN;
                }
                return Some(packet);
            }
        }
        // What is not there may be in the next fragment; elsewhere it is an error that hosts drop.
        packet.protocol = protocol::UNKNOWN;
        (packet.fragment == Fragment::First).then_some(packet)
    }

    /// Whether this is a first fragment that ends within the transport header (RFC 7112 §5).
    fn is_cut(&self) -> bool {
        let header_len = match self.protocol {
            protocol::TCP => TCP_HEADER_LEN,
            protocol::UDP => UDP_HEADER_LEN,
            protocol::ICMPV6 => ICMPV6_HEADER_LEN,
            _ => 0,
        };
        self.fragment == Fragment::First && self.end - self.transport < header_len
    }

    /// Steps over one extension header; `Some(false)` when there is none to step over, `None` when it is cut.
    fn skip_extension(&mut self, bytes: &[u8]) -> Option<bool> {
        if !is_extension(self.protocol) || self.fragment == Fragment::Later {
            return Some(false);
        }
        let header = bytes[..self.end].get(self.transport..self.transport + 8)?;
        let len = match self.protocol {
            protocol::FRAGMENT => {
                let field = be16(header, 2);
                self.fragment = match (field >> 3, field & 1) {
                    // RFC 6946: an atomic fragment is a whole packet.
                    (0, 0) => self.fragment,
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                8
            }
            // RFC 4302 §2.2: in words of four bytes, less two.
            protocol::AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if self.transport + len > self.end {
            return None;
        }
        self.protocol = header[0];
        self.transport += len;
        Some(true)
    }

    /// The transport header and what follows it, without padding.
    pub(crate) fn transport<'a>(&self, frame: &Frame<'a>) -> &'a [u8] {
        &frame.bytes()[self.transport..self.end]
    }

    /// Source and destination address.
    pub(crate) fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        match self.version {
            Version::V4 => &frame[self.start + 12..self.start + 20],
            Version::V6 => &frame[self.start + 8..self.start + 40],
        }
    }

    pub(crate) fn source<'a>(&self, frame: &Frame<'a>) -> &'a [u8] {
        let addresses = self.addresses(frame.bytes());
        &addresses[..addresses.len() / 2]
    }

    pub(crate) fn destination<'a>(&self, frame: &Frame<'a>) -> &'a [u8] {
        let addresses = self.addresses(frame.bytes());
        &addresses[addresses.len() / 2..]
    }
}

pub(crate) fn is_extension(number: u8) -> bool {
    matches!(
        number,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6
    )
}

/// Assigned Internet protocol numbers.
pub(crate) mod protocol {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IGMP: u8 = 2;
    pub(crate) const IPV4: u8 = 4;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const IPV6: u8 = 41;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const GRE: u8 = 47;
    pub(crate) const AUTHENTICATION: u8 = 51;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const DESTINATION: u8 = 60;
    pub(crate) const PIM: u8 = 103;
    pub(crate) const MOBILITY: u8 = 135;
    pub(crate) const HIP: u8 = 139;
    pub(crate) const SHIM6: u8 = 140;
    /// Reserved by IANA, so no packet's own.
    pub(crate) const UNKNOWN: u8 = 255;
}

pub(crate) const IPV4_HEADER_LEN: usize = 20;
pub(crate) const IPV6_HEADER_LEN: usize = 40;
pub(crate) const TCP_HEADER_LEN: usize = 20;
pub(crate) const UDP_HEADER_LEN: usize = 8;
const ICMPV6_HEADER_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket};
    use proptest::prelude::*;

    use super::*;

    /// Random bytes that are often IP.
    fn packets() -> impl Strategy<Value = Vec<u8>> {
        let options = proptest::sample::select(vec![0, 43, 44, 51, 60, 6, 17, 58]);
        let chain = proptest::collection::vec((options, 0..3_u8), 0..5);
        let rest = proptest::collection::vec(any::<u8>(), 0..60);
        (any::<bool>(), chain, rest, 0..4_usize, 5..8_u8).prop_map(
            |(is_v6, chain, rest, cut, ihl)| {
                let mut payload = Vec::new();
                let mut kinds: Vec<u8> = chain.iter().map(|(kind, _)| *kind).collect();
                kinds.push(17);
                for (at, (kind, len)) in chain.iter().enumerate() {
                    let len = if *kind == 44 { 0 } else { *len };
                    let bytes = if *kind == 51 {
                        (usize::from(len) + 2) * 4
                    } else {
                        (usize::from(len) + 1) * 8
                    };
                    let from = payload.len();
                    payload.resize(from + bytes, 0);
                    payload[from] = kinds[at + 1];
                    payload[from + 1] = len;
                }
                payload.extend(rest);
                let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
                if is_v6 {
                    let len = u16::try_from(payload.len()).unwrap();
                    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                    bytes.extend(len.to_be_bytes());
                    bytes.extend([kinds[0], 64]);
                    bytes.extend([0xfd; 32]);
                } else {
                    let header = usize::from(ihl) * 4;
                    let len = u16::try_from(header + payload.len()).unwrap();
                    bytes.extend([8, 0, 0x40 | ihl, 0]);
                    bytes.extend(len.to_be_bytes());
                    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
                    bytes.resize(14 + header, 10);
                }
                bytes.extend(payload);
                bytes.truncate(bytes.len() - cut.saturating_sub(1));
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn what_etherparse_accepts_is_found_where_etherparse_finds_it(bytes in packets()) {
            let frame = Frame::parse(&bytes).unwrap();
            let packet = Packet::parse(&frame);
            let Ok(oracle) = SlicedPacket::from_ethernet(&bytes) else { return Ok(()) };
            let payload = match oracle.net {
                Some(NetSlice::Ipv4(ip)) => ip.payload().clone(),
                Some(NetSlice::Ipv6(ip)) => ip.payload().clone(),
                _ => return Ok(()),
            };
            let packet = packet.unwrap();
            if packet.protocol != protocol::UNKNOWN && !is_extension(packet.protocol) && packet.protocol != 51 && payload.ip_number.0 != 51 {
                prop_assert_eq!(packet.protocol, payload.ip_number.0);
                prop_assert_eq!(packet.transport(&frame), payload.payload);
            }
        }
    }

    #[test]
    fn fragments_are_told_apart() {
        let mut bytes = crate::testing::frame(&crate::testing::Header::default(), b"x");
        for (field, expected) in [
            ([0x40, 0], Fragment::Whole),
            ([0x20, 0], Fragment::First),
            ([0, 1], Fragment::Later),
            ([0x20, 1], Fragment::Later),
        ] {
            bytes[20..22].copy_from_slice(&field);
            let packet = Packet::parse(&Frame::parse(&bytes).unwrap()).unwrap();
            assert_eq!(packet.fragment, expected);
        }
    }

    /// A fragment header that announces `next`, with more to come, and then `rest`.
    fn first_fragment(next: u8, rest: &[u8]) -> Option<Packet> {
        let payload = [&[next, 0, 0, 1, 0, 0, 0, 7][..], rest].concat();
        let len = u16::try_from(payload.len()).unwrap();
        let bytes = [
            &[
                2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0,
            ][..],
            &len.to_be_bytes(),
            &[protocol::FRAGMENT, 64],
            &[0xfd; 32],
            &payload,
        ]
        .concat();
        Packet::parse(&Frame::parse(&bytes).unwrap())
    }

    #[test]
    fn a_first_fragment_cut_within_its_headers_has_an_unknown_protocol() {
        let (options, udp, icmpv6) = (protocol::DESTINATION, protocol::UDP, protocol::ICMPV6);
        for (next, rest, expected) in [
            (options, &[][..], protocol::UNKNOWN),
            (options, &[udp, 1, 0, 0, 0, 0, 0, 0], protocol::UNKNOWN),
            (options, &[udp, 0, 0, 0, 0, 0, 0, 0], protocol::UNKNOWN),
            (udp, &[0; 7], protocol::UNKNOWN),
            (udp, &[0; 8], udp),
            (icmpv6, &[], protocol::UNKNOWN),
            (icmpv6, &[134, 0, 0, 0], icmpv6),
            (59, &[], 59),
        ] {
            let packet = first_fragment(next, rest).unwrap();
            assert_eq!(packet.fragment, Fragment::First);
            assert_eq!(packet.protocol, expected, "{next} {rest:?}");
        }
    }

    #[test]
    fn a_packet_longer_than_its_frame_is_none() {
        for header in crate::testing::Header::all() {
            let bytes = crate::testing::frame(&header, b"payload");
            for len in 14 + 4 * header.vlans..bytes.len() {
                assert_eq!(Packet::parse(&Frame::parse(&bytes[..len]).unwrap()), None);
            }
        }
    }
}
