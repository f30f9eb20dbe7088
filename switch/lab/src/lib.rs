//! What the tests of switch, overlay and the agent's core share. Nothing but tests depends on it, and it on nothing of ours.
//!
//! What is here is written from the standards once more, not taken from what it tests.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

pub mod simulation;
mod station;

pub use station::{Process, Station, enter_private_namespace, eventually, ip};

/// The one's complement sum (RFC 1071) of big-endian words, not complemented; an odd tail is padded with zero.
pub fn internet_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
