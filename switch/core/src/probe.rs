//! Frames that find loops.
//!
//! # Theory of operation
//!
//! A bridge that suspects a loop ([`crate::Bridge::take_suspicion`]) has a probe sent out of each port that may be part of one
//! ([`crate::LoopFinder`]). Nobody answers it. One that comes back by another port has come by a path that goes round. It
//! names the port that it left by, and bears a seal by its bridge's secret, so that nobody makes one up: who has only seen the
//! probes that were sent to him can do no more than send them on, which is a loop. The seal is the SipHash-2-4 of what follows it, of
//! 128 bits (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012).
//!
//! In a network that is aware of VLANs a probe goes out in the one where the suspicion arose, in the form that the port has for it: a
//! path may let one VLAN pass and no other. What would not be admitted where it comes back proves nothing.
//!
//! The destination is a group address of local scope (IEEE 802 §8.4.4), so that every bridge in between floods it, and the
//! ethertype one of those for local experiments (IEEE 802 §9.2.3), so that no station listens. Another network's probe is
//! flooded like any frame and never learned from: it says where a port leads, not where a station lives.
//!
//! ```text
//!  0                   6                   12      14      18  19  20              36      40              48
//! +-------------------+-------------------+-------+-------+---+---+---------------+-------+---------------+-----
//! | 03:74:61:70:65:01 | 02:74:61:70:65:01 | 88 b5 | TPLP  | 1 | 0 | seal          | port  | round         | VID, zeros to 60
//! +-------------------+-------------------+-------+-------+---+---+---------------+-------+---------------+-----
//! ```
//!
//! Numbers are in network byte order. The VID is zero where the network is not aware of VLANs.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::vlan::Vid;
use crate::{Frame, Mac, PortId};

/// What a probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The port that it left by.
    pub port: PortId,
    /// When, as [`crate::LoopFinder`] counts.
    pub round: u64,
    /// In which VLAN.
    pub vlan: Option<Vid>,
}

impl Probe {
    pub const LEN: usize = 60;

    /// The frame. Its bridge is the one whose secret this is.
    pub fn write(self, secret: u128) -> [u8; Self::LEN] {
        let mut frame = [0; Self::LEN];
        frame[..6].copy_from_slice(&EVERYBODY.octets());
        frame[6..12].copy_from_slice(&NOBODY.octets());
        frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        frame[14..20].copy_from_slice(&MAGIC);
        frame[20..36].copy_from_slice(&self.seal(secret));
        frame[36..50].copy_from_slice(&self.told());
        frame
    }

    /// `None`: it is none, or not of the bridge with this secret.
    pub(crate) fn read(frame: &Frame<'_>, secret: u128) -> Option<Self> {
        if secret == 0 || !is_probe(frame) {
            return None;
        }
        let packet = frame.packet();
        let probe = Self {
            port: PortId(u32::from_be_bytes(packet.get(22..26)?.try_into().ok()?)),
            round: u64::from_be_bytes(packet.get(26..34)?.try_into().ok()?),
            vlan: Vid::new(u16::from_be_bytes(packet.get(34..36)?.try_into().ok()?)),
        };
        (packet.get(6..22)? == probe.seal(secret)).then_some(probe)
    }

    fn seal(self, secret: u128) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(&secret.to_be_bytes());
        hasher.write(&self.told());
        hasher.finish128().as_bytes()
    }

    fn told(self) -> [u8; 14] {
        let mut told = [0; 14];
        told[..4].copy_from_slice(&self.port.0.to_be_bytes());
        told[4..12].copy_from_slice(&self.round.to_be_bytes());
        told[12..].copy_from_slice(&self.vlan.map_or(0, Vid::get).to_be_bytes());
        told
    }
}

/// Whether the frame is a probe of some bridge.
#[inline]
pub(crate) fn is_probe(frame: &Frame<'_>) -> bool {
    frame.ethertype() == ETHERTYPE && frame.dst() == EVERYBODY && frame.packet().starts_with(&MAGIC)
}

const EVERYBODY: Mac = Mac::new([3, 0x74, 0x61, 0x70, 0x65, 1]);
const NOBODY: Mac = Mac::new([2, 0x74, 0x61, 0x70, 0x65, 1]);
const ETHERTYPE: u16 = 0x88b5;
const MAGIC: [u8; 6] = *b"TPLP\x01\0";

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Probe = Probe {
        port: PortId(0x0102_0304),
        round: 7,
        vlan: Vid::new(20),
    };

    #[test]
    fn a_probe_is_read_by_its_own_bridge_alone() {
        let bytes = PROBE.write(42);
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(Probe::read(&frame, 42), Some(PROBE));
        assert_eq!(Probe::read(&frame, 43), None);
        assert!(is_probe(&frame));
        let nobodys = PROBE.write(0);
        let frame = Frame::parse(&nobodys).unwrap();
        assert_eq!(Probe::read(&frame, 0), None, "that is no secret");
    }

    #[test]
    fn who_has_seen_one_cannot_make_another() {
        for place in 36..50 {
            let mut bytes = PROBE.write(42);
            bytes[place] ^= 1;
            let frame = Frame::parse(&bytes).unwrap();
            assert_eq!(Probe::read(&frame, 42), None, "{place}");
        }
    }

    #[test]
    fn a_probe_that_is_cut_short_is_none() {
        let bytes = PROBE.write(42);
        for len in Frame::HEADER_LEN..50 {
            let frame = Frame::parse(&bytes[..len]).unwrap();
            assert_eq!(Probe::read(&frame, 42), None, "{len}");
        }
    }
}
