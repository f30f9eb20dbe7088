//! Packets of the underlay, as they arrive at a link: IPv4 without options (RFC 791), UDP (RFC 768).
//!
//! # Theory of operation
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Version|  IHL  |    DSCP   |ECN|          Total Length         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |         Identification        |Flags|      Fragment Offset    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Time to Live |    Protocol   |         Header Checksum       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       Source Address                          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                    Destination Address                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Source Port          |       Destination Port        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Length             |           Checksum            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Who reads packets before the IP stack must check what that would check: lengths that agree, the header's checksum, and UDP's
//! checksum, where zero means that there is none. Whether a packet is for this host was looked at before.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;

use switch_core::checksum;

use crate::ecn::Ecn;
use switch_core::bytes::be16;

/// A datagram in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    pub source: SocketAddr,
    pub ecn: Ecn,
    /// Where in the Ethernet frame the datagram's payload is.
    pub payload: Range<usize>,
}

impl Outer {
    /// From an untagged Ethernet frame. `is_verified`: UDP's checksum was checked already.
    pub fn parse(frame: &[u8], is_verified: bool) -> Result<Self, ParseOuter> {
        let packet = frame.get(ETHERNET_LEN..).ok_or(ParseOuter::Truncated)?;
        let ip = packet
            .first_chunk::<IP_LEN>()
            .ok_or(ParseOuter::Truncated)?;
        if ip[0] != VERSION_AND_LEN || be16(ip, 6) & FRAGMENT != 0 || ip[9] != UDP {
            return Err(ParseOuter::Other);
        }
        if !checksum::verifies(0, ip) {
            return Err(ParseOuter::Checksum);
        }
        let total = usize::from(be16(ip, 2));
        let datagram = packet.get(IP_LEN..total).ok_or(ParseOuter::Truncated)?;
        let udp = datagram.first_chunk::<UDP_LEN>();
        let udp = udp.ok_or(ParseOuter::Truncated)?;
        let len = usize::from(be16(udp, 4));
        if !(UDP_LEN..=datagram.len()).contains(&len) {
            return Err(ParseOuter::Truncated);
        }
        let has_checksum = be16(udp, 6) != 0;
        if has_checksum && !is_verified && !verifies(ip, &datagram[..len]) {
            return Err(ParseOuter::Checksum);
        }
        let source = Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]);
        let start = ETHERNET_LEN + IP_LEN;
        Ok(Self {
            source: SocketAddrV4::new(source, be16(udp, 0)).into(),
            ecn: Ecn::from_bits(ip[1]),
            payload: start + UDP_LEN..start + len,
        })
    }
}

/// The packet carries no datagram. Count it and drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseOuter {
    #[error("the packet is shorter than its headers say")]
    Truncated,
    #[error("the packet is a fragment, has options, or is not UDP over IPv4")]
    Other,
    #[error("a checksum is wrong")]
    Checksum,
}

/// Whether the sum of pseudo-header and datagram is right.
fn verifies(ip: &[u8; IP_LEN], datagram: &[u8]) -> bool {
    let [high, low] = u16::try_from(datagram.len()).unwrap_or(0).to_be_bytes();
    let sum = checksum::sum(0, &ip[12..20]);
    checksum::verifies(checksum::sum(sum, &[0, UDP, high, low]), datagram)
}

const ETHERNET_LEN: usize = 14;
const IP_LEN: usize = 20;
const UDP_LEN: usize = 8;
/// Version 4, five words.
const VERSION_AND_LEN: u8 = 0x45;
/// More fragments, and the offset.
const FRAGMENT: u16 = 0x3fff;
const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::sum;
    use switch_core::bytes::put_be16;

    /// A whole packet from 192.0.2.2:50000, marked ECT(0), with `padding` bytes behind it.
    fn packet(payload: &[u8], padding: usize) -> Vec<u8> {
        let len = u16::try_from(UDP_LEN + payload.len()).unwrap();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 2, 0, 0, 0, 9, 0x40, 0, 64, UDP, 0, 0]);
        frame.extend([192, 0, 2, 2, 192, 0, 2, 1]);
        put_be16(&mut frame, 16, len + 20);
        let header = !sum(0, &frame[14..34]);
        put_be16(&mut frame, 24, header);
        frame.extend([0xc3, 0x50, 0x12, 0xb5, 0, 0, 0, 0]);
        put_be16(&mut frame, 38, len);
        frame.extend(payload);
        let pseudo = sum(sum(u16::from(UDP), &frame[26..34]), &len.to_be_bytes());
        let checksum = !sum(pseudo, &frame[34..]);
        put_be16(
            &mut frame,
            40,
            if checksum == 0 { 0xffff } else { checksum },
        );
        frame.resize(frame.len() + padding, 0xee);
        frame
    }

    #[test]
    fn a_datagram_is_found_between_headers_and_padding() {
        let frame = packet(b"odd", 15);
        let outer = Outer::parse(&frame, false).unwrap();
        assert_eq!(outer.source, "192.0.2.2:50000".parse().unwrap());
        assert_eq!(outer.ecn, Ecn::Ect0);
        assert_eq!(&frame[outer.payload], b"odd");
    }

    #[test]
    fn a_missing_checksum_is_right_and_a_wrong_one_is_not() {
        let mut frame = packet(b"payload", 0);
        frame[45] ^= 1;
        assert_eq!(Outer::parse(&frame, false), Err(ParseOuter::Checksum));
        assert!(Outer::parse(&frame, true).is_ok());
        put_be16(&mut frame, 40, 0);
        assert!(Outer::parse(&frame, false).is_ok());
    }

    #[test]
    fn fragments_options_and_lies_are_refused() {
        let with = |at: usize, value: u8| {
            let mut frame = packet(b"payload", 0);
            frame[at] = value;
            put_be16(&mut frame, 24, 0);
            let header = !sum(0, &frame[14..34]);
            put_be16(&mut frame, 24, header);
            Outer::parse(&frame, true).map(|_| ())
        };
        assert_eq!(with(14, 0x45), Ok(()));
        assert_eq!(with(14, 0x46), Err(ParseOuter::Other));
        assert_eq!(with(20, 0x20), Err(ParseOuter::Other));
        assert_eq!(with(23, 6), Err(ParseOuter::Other));
        assert_eq!(with(17, 200), Err(ParseOuter::Truncated));
        assert_eq!(with(39, 7), Err(ParseOuter::Truncated));
        assert_eq!(with(39, 200), Err(ParseOuter::Truncated));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..64), bit in any::<prop::sample::Index>()) {
            let mut frame = packet(&payload, 0);
            let bits = (frame.len() - ETHERNET_LEN) * 8;
            let bit = ETHERNET_LEN * 8 + bit.index(bits);
            frame[bit / 8] ^= 1 << (bit % 8);
            // But a checksum that becomes zero says that there is none.
            prop_assume!(be16(&frame, 40) != 0);
            prop_assert!(Outer::parse(&frame, false).is_err());
        }

        #[test]
        fn no_bytes_are_too_strange(frame in proptest::collection::vec(any::<u8>(), 0..128), is_verified in any::<bool>()) {
            if let Ok(outer) = Outer::parse(&frame, is_verified) {
                prop_assert!(outer.payload.end <= frame.len());
            }
        }
    }
}
