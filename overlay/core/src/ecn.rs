//! Explicit congestion notification through a tunnel (RFC 6040).
//!
//! # Theory of operation
//!
//! Two bits of the IP header, inside and outside (RFC 3168 §5). Going in, normal mode, the outer field is a copy of the
//! inner one (§4.1), so that routers of the underlay can mark instead of drop. Coming out, a mark made on the way moves to the
//! inner header (§4.2):
//!
//! ```text
//! +---------+------------------------------------------------+
//! |         |                 arriving outer                 |
//! | inner   | Not-ECT   | ECT(0)    | ECT(1)    | CE         |
//! +---------+-----------+-----------+-----------+------------+
//! | Not-ECT | Not-ECT   | Not-ECT   | Not-ECT   | drop       |
//! | ECT(0)  | ECT(0)    | ECT(0)    | ECT(1)    | CE         |
//! | ECT(1)  | ECT(1)    | ECT(1)    | ECT(1)    | CE         |
//! | CE      | CE        | CE        | CE        | CE         |
//! +---------+-----------+-----------+-----------+------------+
//! ```
//!
//! A sender that did not ask for marks must see a loss, which is why that one is dropped. A frame without IP is treated as
//! Not-ECT, but never dropped: it has no field that could have been copied.

use switch_core::{Frame, ethertype};

use crate::checksum;
use switch_core::bytes::{be16, put_be16};

/// The ECN field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    #[default]
    NotEct,
    Ect1,
    Ect0,
    Ce,
}

impl Ecn {
    /// From the traffic class or TOS byte; looks at the low two bits.
    pub const fn from_bits(byte: u8) -> Self {
        match byte & MASK {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }
}

/// The field of the packet in a frame; `None` when there is no IP packet.
pub fn of_frame(frame: &Frame<'_>) -> Option<Ecn> {
    Field::find(frame).map(|field| field.read(frame.bytes()))
}

/// The outer field for a frame that goes into a tunnel.
pub fn encapsulate(frame: &Frame<'_>) -> Ecn {
    of_frame(frame).unwrap_or_default()
}

/// The inner field after a packet came out of a tunnel; `None`: drop the packet.
pub const fn decapsulated(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
        (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => Some(Ecn::Ce),
        _ => Some(inner),
    }
}

/// Moves a mark from the outer header into the frame; false: drop the frame.
pub fn decapsulate(outer: Ecn, bytes: &mut [u8]) -> bool {
    // Nothing to move, which is what nearly every frame brings.
    if matches!(outer, Ecn::NotEct | Ecn::Ect0) {
        return true;
    }
    let Some(field) = Frame::parse(bytes)
        .ok()
        .and_then(|frame| Field::find(&frame))
    else {
        return true;
    };
    match decapsulated(field.read(bytes), outer) {
        Some(inner) => {
            field.write(bytes, inner);
            true
        }
        None => false,
    }
}

/// Where the field is.
#[derive(Clone, Copy)]
enum Field {
    V4(usize),
    V6(usize),
}

impl Field {
    fn find(frame: &Frame<'_>) -> Option<Self> {
        let start = frame.packet_offset();
        let version = *frame.packet().first()? >> 4;
        match (frame.ethertype(), version) {
            (ethertype::IPV4, 4) if frame.packet().len() >= IPV4_HEADER_LEN => {
                Some(Self::V4(start))
            }
            (ethertype::IPV6, 6) if frame.packet().len() >= IPV6_HEADER_LEN => {
                Some(Self::V6(start))
            }
            _ => None,
        }
    }

    fn read(self, bytes: &[u8]) -> Ecn {
        match self {
            Self::V4(start) => Ecn::from_bits(bytes[start + 1]),
            // The traffic class straddles two bytes (RFC 8200 §3).
            Self::V6(start) => Ecn::from_bits(bytes[start + 1] >> 4),
        }
    }

    fn write(self, bytes: &mut [u8], ecn: Ecn) {
        match self {
            Self::V4(start) => {
                let old = be16(bytes, start);
                bytes[start + 1] = bytes[start + 1] & !MASK | ecn.bits();
                let new = be16(bytes, start);
                let sum = checksum::updated(be16(bytes, start + 10), old, new);
                put_be16(bytes, start + 10, sum);
            }
            Self::V6(start) => {
                bytes[start + 1] = bytes[start + 1] & !(MASK << 4) | ecn.bits() << 4;
            }
        }
    }
}

const MASK: u8 = 3;
const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Header, verify_checksums};

    const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];

    #[test]
    fn decapsulation_is_the_rfcs_table() {
        let table = ALL.map(|inner| ALL.map(|outer| decapsulated(inner, outer)));
        let (not, ect0, ect1, ce) = (
            Some(Ecn::NotEct),
            Some(Ecn::Ect0),
            Some(Ecn::Ect1),
            Some(Ecn::Ce),
        );
        assert_eq!(
            table,
            [
                [not, not, not, None],
                [ect0, ect0, ect1, ce],
                [ect1, ect1, ect1, ce],
                [ce, ce, ce, ce],
            ]
        );
    }

    #[test]
    fn a_frame_gets_what_the_table_says_with_its_checksum() {
        for ipv6 in [false, true] {
            for vlan in [false, true] {
                for (inner, outer) in ALL.iter().flat_map(|a| ALL.map(|b| (*a, b))) {
                    let header = Header {
                        ipv6,
                        vlan,
                        ..Header::default()
                    };
                    let mut bytes = header.frame(b"x");
                    let at = header.ip_at();
                    match ipv6 {
                        true => bytes[at + 1] |= inner.bits() << 4,
                        false => bytes[at + 1] |= inner.bits(),
                    }
                    crate::testing::fix_checksums(&mut bytes);
                    assert_eq!(encapsulate(&Frame::parse(&bytes).unwrap()), inner);
                    let expected = decapsulated(inner, outer);
                    assert_eq!(decapsulate(outer, &mut bytes), expected.is_some());
                    let after = of_frame(&Frame::parse(&bytes).unwrap());
                    assert_eq!(after, Some(expected.unwrap_or(inner)));
                    verify_checksums(&bytes);
                }
            }
        }
    }

    #[test]
    fn a_frame_without_ip_passes() {
        let mut arp = [2; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        let before = arp;
        assert!(decapsulate(Ecn::Ce, &mut arp));
        assert_eq!(arp, before);
        assert_eq!(encapsulate(&Frame::parse(&arp).unwrap()), Ecn::NotEct);
        assert!(decapsulate(Ecn::Ce, &mut [2; 5]));
    }
}
