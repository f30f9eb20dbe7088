//! Probes of a path's MTU, and their answers.
//!
//! # Theory of operation
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------------------------------------------------------+
//! |      VXLAN header (RFC 7348 §5) with the I flag and VNI 0     |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |      Ethernet: to 01-80-C2-00-00-01                           |
//! |      from 02-00-00-00-00-00                                   |
//! |                               +-------------------------------+
//! |      type 88-B5               |     'V'       |      'P'      |
//! +-------------------------------+-------------------------------+
//! |  version 1    | 1 probe       |     length of the probe's     |
//! |               | 2 answer      |     UDP payload               |
//! +-------------------------------+-------------------------------+
//! |      nonce                                                    |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |      zeros                                                    |
//! ```
//!
//! A probe is as long as the packet that is asked about; its answer is short, so that no use can be made of whoever answers. In
//! an answer stands the length that arrived.
//!
//! Remotes that are none of ours are probed too, since nobody knows. No network of ours has VNI 0, and VTEPs that use it at all
//! keep it for control (BFD), so a frame in it is dropped in silence. A Linux device that takes every VNI (`external`, as Cilium
//! and Open vSwitch use) hands it on; bridges never forward that group address (IEEE 802.1Q table 8-1), Linux's drops it whatever
//! its `group_fwd_mask` says, and no stack knows the type, which is for local experiments (IEEE 802, 9.2).

use switch_core::Vni;
use switch_core::bytes::{be16, be32};

use crate::VxlanHeader;

/// A probe, or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathProbe {
    pub kind: PathProbeKind,
    /// Length of the probe's UDP payload, in bytes.
    pub len: u16,
    /// Of the probe.
    pub nonce: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathProbeKind {
    Probe,
    Answer,
}

impl PathProbe {
    /// Shortest datagram: Ethernet's shortest frame behind the header, in bytes.
    pub const LEN_MIN: u16 = 8 + 60;

    /// A probe whose UDP payload is of `len` bytes.
    pub const fn probe(len: u16, nonce: u64) -> Self {
        Self {
            kind: PathProbeKind::Probe,
            len,
            nonce,
        }
    }

    /// What to say to a probe that came as so many bytes.
    pub const fn answer(self, len: u16) -> Self {
        Self {
            kind: PathProbeKind::Answer,
            len,
            nonce: self.nonce,
        }
    }

    /// Whether datagrams of a network may be such.
    pub fn may_be_in(vni: Vni) -> bool {
        vni.value() == 0
    }

    /// Of a UDP payload; `None` where it is none of these.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (head, rest) = datagram.split_at_checked(HEAD.len())?;
        let body = rest.get(..BODY_LEN)?;
        if head != HEAD {
            return None;
        }
        let kind = match body[0] {
            1 => PathProbeKind::Probe,
            2 => PathProbeKind::Answer,
            _ => return None,
        };
        Some(Self {
            kind,
            len: be16(body, 1),
            nonce: u64::from(be32(body, 3)) << 32 | u64::from(be32(body, 7)),
        })
    }

    /// The UDP payload.
    pub fn to_bytes(self) -> Vec<u8> {
        let (kind, len) = match self.kind {
            PathProbeKind::Probe => (1, self.len.max(Self::LEN_MIN)),
            PathProbeKind::Answer => (2, Self::LEN_MIN),
        };
        let mut datagram = HEAD.to_vec();
        datagram.push(kind);
        datagram.extend(self.len.to_be_bytes());
        datagram.extend(self.nonce.to_be_bytes());
        datagram.resize(usize::from(len), 0);
        datagram
    }
}

/// Up to the version.
const HEAD: [u8; VxlanHeader::LEN + 14 + 3] = [
    8, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x80, 0xc2, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0x88, 0xb5, b'V', b'P', 1,
];
/// Kind, length, nonce.
const BODY_LEN: usize = 1 + 2 + 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_said_is_understood(len in 0..2000_u16, nonce: u64) {
            let probe = PathProbe::probe(len, nonce);
            let bytes = probe.to_bytes();
            prop_assert_eq!(bytes.len(), usize::from(len.max(PathProbe::LEN_MIN)));
            prop_assert_eq!(PathProbe::parse(&bytes), Some(probe));
            let answer = probe.answer(1400);
            prop_assert_eq!(answer.to_bytes().len(), usize::from(PathProbe::LEN_MIN));
            prop_assert_eq!(PathProbe::parse(&answer.to_bytes()), Some(answer));
        }

        #[test]
        fn no_bytes_are_beyond_it(mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            PathProbe::parse(&bytes);
            for (to, from) in bytes.iter_mut().zip(HEAD) {
                *to = from;
            }
            PathProbe::parse(&bytes);
        }
    }

    #[test]
    fn it_is_a_frame_of_vni_0_for_a_group_that_no_bridge_forwards() {
        let bytes = PathProbe::probe(100, 7).to_bytes();
        let (header, frame) = VxlanHeader::parse(&bytes).unwrap();
        assert!(PathProbe::may_be_in(header.vni));
        let frame = switch_core::Frame::parse(frame).unwrap();
        assert_eq!(frame.dst().octets(), [1, 0x80, 0xc2, 0, 0, 1]);
        assert_eq!(frame.ethertype(), 0x88b5);
    }

    #[test]
    fn frames_of_others_in_vni_0_are_none_of_these() {
        let mut bytes = PathProbe::probe(100, 7).to_bytes();
        for at in 0..HEAD.len() {
            bytes[at] ^= 0x40;
            assert_eq!(PathProbe::parse(&bytes), None);
            bytes[at] ^= 0x40;
        }
        bytes[HEAD.len()] = 3;
        assert_eq!(PathProbe::parse(&bytes), None);
        assert_eq!(PathProbe::parse(&bytes[..30]), None);
    }
}
