//! How much encapsulation costs, and what is left for the packets inside.
//!
//! # Theory of operation
//!
//! An underlay MTU counts from the outer IP header on; an inner MTU from the inner IP header on. Between them lie:
//!
//! | | IPv4 | IPv6 |
//! |---|---|---|
//! | VXLAN: IP, UDP 8, VXLAN 8, inner Ethernet 14 | 50 | 70 |
//! | QUIC, up to the datagram: IP, UDP 8, packet 1 + 8 + 4 + 16, frame 9 | 66 | 86 |
//!
//! VXLAN must not be fragmented (RFC 7348 §4.3), so there the inner MTU follows from the underlay's. Over QUIC frames are cut
//! ([`crate::Datagrams`]), and the inner MTU is a choice.

use crate::{DatagramHeader, VxlanHeader};
use switch_core::Frame;

/// The underlay's IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underlay {
    V4,
    V6,
}

impl Underlay {
    /// Length of the outer IP and UDP headers, in bytes.
    pub const fn udp_overhead(self) -> u32 {
        match self {
            Self::V4 => 20 + 8,
            Self::V6 => 40 + 8,
        }
    }
}

/// Largest inner packet over VXLAN, in bytes. Zero when nothing fits. A tag inside takes four more from each frame.
pub fn vxlan_inner(underlay: Underlay, underlay_mtu: u32) -> u32 {
    underlay_mtu.saturating_sub(underlay.udp_overhead() + VXLAN_OVERHEAD)
}

/// Least underlay MTU for an inner one over VXLAN, in bytes.
pub fn vxlan_underlay(underlay: Underlay, inner_mtu: u32) -> u32 {
    inner_mtu + underlay.udp_overhead() + VXLAN_OVERHEAD
}

/// What fits a QUIC datagram frame, header of ours included, in bytes. quinn's `max_datagram_size` for connection
/// identifiers of eight bytes; use that where there is a connection.
pub fn quic_datagram(underlay: Underlay, underlay_mtu: u32) -> u32 {
    underlay_mtu.saturating_sub(underlay.udp_overhead() + QUIC_OVERHEAD)
}

/// Longest TCP packet that crosses over QUIC in one UDP payload of `udp_payload` bytes. Superframes of such segments are cut
/// between segments only.
pub fn quic_stream(udp_payload: u32) -> u32 {
    udp_payload.saturating_sub(QUIC_OVERHEAD + QUIC_PIECE_OVERHEAD + ETHERNET_HEADER)
}

/// Longest UDP payload that crosses a relay where hosts exchange UDP payloads of `udp_payload` bytes with it. `name_len`: of the
/// longer of both ends' names.
pub fn relayed(udp_payload: u32, name_len: usize) -> u32 {
    let name_len = u32::try_from(name_len).unwrap_or(u32::MAX);
    let header = QUIC_OVERHEAD + RELAY_OVERHEAD;
    udp_payload.saturating_sub(header.saturating_add(name_len))
}

/// The MTU of an overlay's ports unless another is asked for: over VXLAN what the underlay leaves, over QUIC 1500 or, on
/// jumbo underlays, what crosses in one piece.
pub fn quic_inner_default(underlay: Underlay, underlay_mtu: u32) -> u32 {
    let whole = quic_datagram(underlay, underlay_mtu).saturating_sub(QUIC_FRAME_OVERHEAD);
    whole.max(ETHERNET_MTU)
}

/// A packet in Ethernet without tags.
const ETHERNET_MTU: u32 = 1500;
const ETHERNET_HEADER: u32 = 14;
const VXLAN_OVERHEAD: u32 = 8 + ETHERNET_HEADER;
/// Flags 1, connection identifier 8, packet number 4, tag 16; frame type and length 9 (quinn's bound).
const QUIC_OVERHEAD: u32 = 1 + 8 + 4 + 16 + 9;
/// The longest header of a whole frame, and the Ethernet header with a tag.
const QUIC_FRAME_OVERHEAD: u32 = 8 + ETHERNET_HEADER + 4;
/// The header of a superframe's piece.
const QUIC_PIECE_OVERHEAD: u32 = 20;

/// The header of a datagram that is relayed, without the name in it.
const RELAY_OVERHEAD: u32 = 4 + 2;

const _: () = assert!(VxlanHeader::LEN == 8 && Frame::HEADER_LEN == 14);
const _: () = assert!(DatagramHeader::PIECE_LEN == 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vxlan_takes_fifty_bytes_or_seventy() {
        assert_eq!(vxlan_inner(Underlay::V4, 1500), 1450);
        assert_eq!(vxlan_inner(Underlay::V6, 1500), 1430);
        assert_eq!(vxlan_inner(Underlay::V6, 60), 0);
        assert_eq!(vxlan_underlay(Underlay::V4, 1500), 1550);
    }

    #[test]
    fn a_quic_datagram_has_what_quinn_says() {
        // research: payload - 38; 1452 -> 1414.
        assert_eq!(quic_datagram(Underlay::V4, 1480), 1414);
        assert_eq!(quic_inner_default(Underlay::V4, 1500), 1500);
        assert_eq!(quic_inner_default(Underlay::V4, 9000), 8908);
        assert_eq!(quic_stream(1472), 1400);
    }

    #[test]
    fn a_relay_takes_what_a_datagram_and_the_name_take() {
        assert_eq!(relayed(1472, 16), 1472 - 38 - 4 - 2 - 16);
        assert_eq!(relayed(20, 16), 0);
    }
}
