//! Which flow a frame is of, and whether it is urgent.
//!
//! # Theory of operation
//!
//! A [`Flow`] is read off fixed offsets, once a frame, so that whoever has many frames at hand can take turns between those who sent
//! them. Its mark is a hash of what stays the same over a flow's frames: addresses, protocol and ports of IP, addresses and type of
//! everything else. Of a packet with IPv4 options, with IPv6 extension headers, or in fragments, only what all of its frames have counts.
//! Two flows may have one mark; then they share one's turns, and nothing else happens.
//!
//! **Two classes.** Urgent is what its sender marked for the least delay: DSCP CS5 and above (RFC 4594 §2.3: telephony EF, VOICE-ADMIT,
//! signaling, network control), or a priority of 5 and above in its outermost VLAN tag (IEEE 802.1Q Annex I: voice, internetwork and
//! network control). Nobody is believed to the letter: urgent frames go first, and only for a share ([`crate::shaper`]).

use crate::Frame;
use crate::bytes::{be16, be32};
use crate::frame::ethertype;
use crate::packet::protocol;

/// What a frame is a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Equal for frames of one flow.
    pub(crate) mark: u32,
    pub(crate) is_urgent: bool,
}

impl Flow {
    #[inline]
    pub(crate) fn of(frame: &Frame<'_>) -> Self {
        let bytes = frame.bytes();
        let start = frame.packet_offset();
        let (mark, dscp) = match frame.ethertype() {
            ethertype::IPV4 if bytes.len() >= start + IPV4_LEN => of_ipv4(bytes, start),
            ethertype::IPV6 if bytes.len() >= start + IPV6_LEN => of_ipv6(bytes, start),
            other => (of_station(bytes, other), 0),
        };
        let priority = if start > Frame::HEADER_LEN {
            bytes[Frame::HEADER_LEN] >> 5
        } else {
            0
        };
        Self {
            mark: fold(mark),
            is_urgent: dscp >= DSCP_URGENT || priority >= PRIORITY_URGENT,
        }
    }
}

/// The hash, and the DSCP.
#[inline]
fn of_ipv4(bytes: &[u8], start: usize) -> (u64, u8) {
    let addresses = mix(
        u64::from(be32(bytes, start + 12)),
        u64::from(be32(bytes, start + 16)),
    );
    let carried = bytes[start + 9];
    // More fragments, or an offset.
    let is_whole = be16(bytes, start + 6) & 0x3fff == 0;
    let mark = match is_whole && bytes[start] == 0x45 {
        true => mix(addresses, ports(bytes, start + IPV4_LEN, carried)),
        false => mix(addresses, u64::from(carried)),
    };
    (mark, bytes[start + 1] >> 2)
}

#[inline]
fn of_ipv6(bytes: &[u8], start: usize) -> (u64, u8) {
    let addresses = (start + 8..start + IPV6_LEN).step_by(4);
    let addresses = addresses.fold(0, |mark, at| mix(mark, u64::from(be32(bytes, at))));
    let mark = mix(addresses, ports(bytes, start + IPV6_LEN, bytes[start + 6]));
    let traffic_class = be16(bytes, start) >> 4;
    (mark, traffic_class.to_be_bytes()[1] >> 2)
}

/// The protocol and, where they are at a fixed place, its ports.
#[inline]
fn ports(bytes: &[u8], at: usize, carried: u8) -> u64 {
    let has_ports = matches!(carried, protocol::TCP | protocol::UDP) && bytes.len() >= at + 4;
    let ports = if has_ports { be32(bytes, at) } else { 0 };
    u64::from(carried) << 32 | u64::from(ports)
}

fn of_station(bytes: &[u8], ethertype: u16) -> u64 {
    let to = u64::from(be32(bytes, 0)) << 16 | u64::from(be16(bytes, 4));
    let from = u64::from(be32(bytes, 6)) << 16 | u64::from(be16(bytes, 10));
    mix(mix(to, from), u64::from(ethertype))
}

/// Spreads what differs in few bits; a multiplicative hash (Knuth, TAOCP 6.4).
#[inline]
const fn mix(mark: u64, more: u64) -> u64 {
    (mark.rotate_left(23) ^ more).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The upper half, where a multiplicative hash is best.
#[inline]
const fn fold(mark: u64) -> u32 {
    (mark >> 32) as u32
}

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
/// CS5, after which come VOICE-ADMIT (44), EF (46), CS6 and CS7.
const DSCP_URGENT: u8 = 40;
const PRIORITY_URGENT: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Header, frame};

    fn flow(bytes: &[u8]) -> Flow {
        Flow::of(&Frame::parse(bytes).unwrap())
    }

    fn with_ports(seed: u8) -> Vec<u8> {
        let mut bytes = frame(&Header::default(), b"some payload");
        bytes[14 + 20 + 1] ^= seed;
        bytes
    }

    #[test]
    fn frames_of_one_flow_have_one_mark_and_those_of_others_have_others() {
        let first = frame(&Header::default(), b"first");
        let next = frame(
            &Header {
                id: 7,
                seq: 99,
                psh: true,
                ..Header::default()
            },
            &[1; 900],
        );
        assert_eq!(flow(&first), flow(&next));
        let marks: std::collections::HashSet<_> =
            (0..=255).map(|seed| flow(&with_ports(seed)).mark).collect();
        assert_eq!(marks.len(), 256);
        // Also in the bits by which tables are chosen.
        let buckets: std::collections::HashSet<_> = (0..=255)
            .map(|seed| flow(&with_ports(seed)).mark % 64)
            .collect();
        assert!(buckets.len() > 48, "{}", buckets.len());
    }

    #[test]
    fn fragments_go_with_each_other() {
        let mut first = with_ports(1);
        first[14 + 6] = 0x20;
        let mut later = with_ports(2);
        later[14 + 7] = 9;
        assert_eq!(flow(&first), flow(&later));
    }

    #[test]
    fn urgent_is_what_is_marked_for_the_least_delay() {
        let mut bytes = with_ports(0);
        for (dscp, is_urgent) in [
            (0, false),
            (8, false),
            (38, false),
            (40, true),
            (46, true),
            (56, true),
        ] {
            bytes[14 + 1] = dscp << 2 | 1;
            assert_eq!(flow(&bytes).is_urgent, is_urgent, "{dscp}");
        }
        bytes[14 + 1] = 0;
        for (priority, is_urgent) in [(0_u8, false), (4, false), (5, true), (7, true)] {
            let tag = [0x81, 0, priority << 5, 10];
            let tagged = [&bytes[..12], &tag, &bytes[12..]].concat();
            assert_eq!(flow(&tagged).is_urgent, is_urgent, "{priority}");
        }
        let mut v6 = [0; 14 + 40];
        v6[11] = 1;
        v6[12..14].copy_from_slice(&[0x86, 0xdd]);
        v6[14..16].copy_from_slice(&[0x60 | 46 >> 2, 0x80]);
        assert!(flow(&v6).is_urgent);
        v6[14..16].copy_from_slice(&[0x60, 0]);
        assert!(!flow(&v6).is_urgent);
    }

    #[test]
    fn what_is_cut_short_has_a_flow_too() {
        let whole = with_ports(0);
        for len in Frame::HEADER_LEN..whole.len() {
            flow(&whole[..len]);
        }
    }
}
