//! Bridge protocol data units: how switches speak of their spanning trees.
//!
//! # Theory of operation
//!
//! A port behind which there is no switch has no cause to send one, so one that does is a switch, or somebody who wants to be the root.
//! Looked for are the frames themselves and not the protocol's version, so that STP, RSTP and MSTP are all meant (IEEE 802.1D §7.12.3,
//! §7.12.5), to customers' and to providers' bridges (IEEE 802.1Q §8.6.3), and Cisco's per-VLAN trees, tagged or not.
//!
//! ```text
//! +-------------+--------+--------+----+----+----+------------
//! | destination | source | length | 42 | 42 | 03 | BPDU            01:80:c2:00:00:00, 01:80:c2:00:00:08
//! +-------------+--------+--------+----+----+----+------------
//! | destination | source | length | aa aa 03 | 00 00 0c | 01 0b | BPDU      01:00:0c:cc:cc:cd
//! +-------------+--------+--------+----------+----------+-------+-----
//! ```

use crate::{Frame, Mac};

/// Whether the frame is one.
pub(crate) fn is_bpdu(frame: &Frame<'_>) -> bool {
    let header: &[u8] = match frame.dst() {
        BRIDGES | PROVIDER_BRIDGES => &[0x42, 0x42, 0x03],
        PER_VLAN => &[0xaa, 0xaa, 0x03, 0, 0, 0x0c, 0x01, 0x0b],
        _ => return false,
    };
    frame.ethertype() <= LENGTH_MAX && frame.packet().starts_with(header)
}

const BRIDGES: Mac = Mac::new([0x01, 0x80, 0xc2, 0, 0, 0]);
const PROVIDER_BRIDGES: Mac = Mac::new([0x01, 0x80, 0xc2, 0, 0, 8]);
const PER_VLAN: Mac = Mac::new([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcd]);
/// IEEE 802.3 §3.2.6: what is more is a type.
const LENGTH_MAX: u16 = 1500;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration BPDU with nothing in it.
    pub(crate) fn bpdu() -> Vec<u8> {
        [
            &[1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 38][..],
            &[0x42, 0x42, 3],
            &[0; 43],
        ]
        .concat()
    }

    fn is_one(bytes: &[u8]) -> bool {
        is_bpdu(&Frame::parse(bytes).unwrap())
    }

    #[test]
    fn a_bpdu_is_known_by_group_and_header() {
        assert!(is_one(&bpdu()));
        let mut provider = bpdu();
        provider[5] = 8;
        assert!(is_one(&provider));
        let mut lldp = bpdu();
        lldp[5] = 0x0e;
        assert!(!is_one(&lldp), "another group");
        let mut typed = bpdu();
        typed[12..14].copy_from_slice(&[0x88, 0xb5]);
        assert!(!is_one(&typed), "a type, not a length");
        let tagged = [
            &[
                1, 0, 0x0c, 0xcc, 0xcc, 0xcd, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7, 0, 50,
            ][..],
            &[0xaa, 0xaa, 3, 0, 0, 0x0c, 1, 0x0b],
            &[0; 42],
        ];
        assert!(is_one(&tagged.concat()), "Cisco's, in a VLAN");
    }
}
