//! The VXLAN header (RFC 7348 §5).
//!
//! # Theory of operation
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |R|R|R|R|I|R|R|R|            Reserved                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                VXLAN Network Identifier (VNI) |   Reserved    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! The I flag must be set for the VNI to count; the reserved bits are sent as zero and not looked at. A frame follows,
//! complete: there is no room to say that a checksum is missing.

use switch_core::Vni;

use switch_core::bytes::be32;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanHeader {
    pub vni: Vni,
}

impl VxlanHeader {
    /// Length on the wire, in bytes.
    pub const LEN: usize = 8;

    /// Splits a UDP payload into header and frame.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), ParseVxlan> {
        let (raw, frame) = datagram
            .split_at_checked(Self::LEN)
            .ok_or(ParseVxlan::Truncated)?;
        if raw[0] & FLAG_VNI == 0 {
            return Err(ParseVxlan::NoVni);
        }
        let vni = Vni::new(be32(raw, 4) >> 8).ok_or(ParseVxlan::NoVni)?;
        Ok((Self { vni }, frame))
    }

    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [_, a, b, c] = self.vni.value().to_be_bytes();
        [FLAG_VNI, 0, 0, 0, a, b, c, 0]
    }
}

/// The datagram is no VXLAN. Count it and drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseVxlan {
    #[error("the datagram is shorter than a VXLAN header")]
    Truncated,
    #[error("the I flag is not set, so there is no VNI")]
    NoVni,
}

/// Assigned to VXLAN by IANA.
pub const VXLAN_UDP_PORT: u16 = 4789;
const FLAG_VNI: u8 = 0x08;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_is_the_rfcs() {
        let vni = Vni::new(0x01_02_03).unwrap();
        let bytes = VxlanHeader { vni }.to_bytes();
        assert_eq!(bytes, [8, 0, 0, 0, 1, 2, 3, 0]);
    }

    #[test]
    fn a_header_without_the_flag_has_no_vni() {
        assert_eq!(VxlanHeader::parse(&[0xf7; 20]), Err(ParseVxlan::NoVni));
        assert_eq!(VxlanHeader::parse(&[8; 7]), Err(ParseVxlan::Truncated));
    }

    proptest! {
        #[test]
        fn reserved_bits_change_nothing(mut bytes in any::<[u8; 12]>()) {
            bytes[0] |= FLAG_VNI;
            let (header, frame) = VxlanHeader::parse(&bytes).unwrap();
            prop_assert_eq!(frame, &bytes[8..]);
            prop_assert_eq!(&header.to_bytes()[4..7], &bytes[4..7]);
        }
    }
}
