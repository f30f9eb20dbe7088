//! The Internet checksum (RFC 1071).
//!
//! # Theory of operation
//!
//! The sum is kept in native byte order (RFC 1071 §2 B: byte order does not matter until the end) in 64 bits, eight words
//! of eight bytes at a time with the carries counted apart, so that the compiler has independent chains to overlap.
//! [`complete`] finishes what a sender left to hardware: it trusts the pseudo-header sum the sender put into the checksum
//! field, and so works at any depth of encapsulation. A checksum that is complete but wrong is not touched by anything.

use crate::VnetHeader;
use crate::bytes::put_be16;

/// Writes the checksum that `vnet` says is missing; does nothing when none is. `frame` must be the frame that `vnet` was
/// validated for: offsets outside it leave it unchanged.
pub fn complete(vnet: &VnetHeader, frame: &mut [u8]) {
    let Some((start, offset)) = vnet.partial_checksum() else {
        return;
    };
    let Some(covered) = frame.get_mut(start..) else {
        return;
    };
    if covered.len() < offset + 2 {
        return;
    }
    // RFC 768: a sum of zero is sent as ones, because zero means "none". TCP reads both alike.
    let sum = match !fold(sum(0, covered)) {
        0 => 0xffff,
        sum => sum,
    };
    put_be16(covered, offset, sum);
}

/// Adds `bytes` to a running sum. An odd tail is padded with zero, so only the last piece may have one.
pub(crate) fn sum(initial: u64, bytes: &[u8]) -> u64 {
    let mut total = u128::from(initial);
    let mut blocks = bytes.chunks_exact(8);
    for block in &mut blocks {
        let mut word = [0; 8];
        word.copy_from_slice(block);
        total += u128::from(u64::from_ne_bytes(word));
    }
    let mut word = [0; 8];
    let tail = blocks.remainder();
    word[..tail.len()].copy_from_slice(tail);
    total += u128::from(u64::from_ne_bytes(word));
    narrow(total)
}

fn narrow(total: u128) -> u64 {
    let mask = u128::from(u64::MAX);
    let once = (total & mask) + (total >> 64);
    let twice = (once & mask) + (once >> 64);
    u64::try_from(twice).unwrap_or(u64::MAX)
}

/// The 16-bit sum in big-endian reading, not yet complemented.
pub(crate) fn fold(sum: u64) -> u16 {
    let mut value = sum;
    while value > 0xffff {
        value = (value & 0xffff) + (value >> 16);
    }
    u16::from_be(u16::try_from(value).unwrap_or(u16::MAX))
}
