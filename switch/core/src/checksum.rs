//! The Internet checksum (RFC 1071).
//!
//! # Theory of operation
//!
//! The sum is taken in native byte order (RFC 1071 §2 B: byte order does not matter until the end). Halves of eight-byte
//! words are added into 64-bit lanes, so that no carry has to be looked at before the end and the compiler can use
//! vector registers.

use crate::packet::Packet;

/// Adds `bytes` to a running sum. An odd tail is padded with zero, so only the last piece may have one. Exact for up to
/// 16 GiB in all.
pub fn sum(initial: u64, bytes: &[u8]) -> u64 {
    let mut low = [0_u64; LANES];
    let mut high = [0_u64; LANES];
    let mut blocks = bytes.chunks_exact(8 * LANES);
    for block in &mut blocks {
        for (lane, word) in block.chunks_exact(8).enumerate() {
            let word = u64_at(word);
            low[lane] += word & LOW;
            high[lane] += word >> 32;
        }
    }
    let mut total = initial + low.iter().sum::<u64>() + high.iter().sum::<u64>();
    let mut words = blocks.remainder().chunks_exact(8);
    for word in &mut words {
        let word = u64_at(word);
        total += (word & LOW) + (word >> 32);
    }
    let mut word = [0; 8];
    let tail = words.remainder();
    word[..tail.len()].copy_from_slice(tail);
    let word = u64::from_ne_bytes(word);
    total + (word & LOW) + (word >> 32)
}

fn u64_at(b: &[u8]) -> u64 {
    u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
}

/// The 16-bit sum, read big-endian, not yet complemented: what a sender leaves in the field of a
/// checksum that it does not finish.
pub(crate) fn fold(sum: u64) -> u16 {
    let mut value = sum;
    while value > 0xffff {
        value = (value & 0xffff) + (value >> 16);
    }
    u16::from_be(u16::try_from(value).unwrap_or(u16::MAX))
}

/// The checksum. RFC 768: zero is sent as ones, because zero means "none"; other protocols read both alike.
pub(crate) fn finish(sum: u64) -> u16 {
    match !fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Whether bytes that contain their own checksum, with the pseudo-header in `initial`, are intact.
pub fn verifies(initial: u64, bytes: &[u8]) -> bool {
    fold(sum(initial, bytes)) == 0xffff
}

/// Sum of the pseudo-header of a transport message of `len` bytes (RFC 9293 §3.1, RFC 8200 §8.1).
pub(crate) fn pseudo_header(packet: &Packet, frame: &[u8], len: usize) -> u64 {
    // No packet that was parsed here is longer than 16 bits say.
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    sum(0, packet.addresses(frame)) + number(u16::from(packet.protocol)) + number(len)
}

/// A number as it adds to a sum: its bytes are big-endian on the wire and summed in native order.
pub(crate) fn number(value: u16) -> u64 {
    u64::from(value.to_be())
}

/// Enough independent chains to keep the adders of a core busy.
const LANES: usize = 4;
const LOW: u64 = 0xffff_ffff;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §1, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0_u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn sum_agrees_with_the_rfc(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(fold(sum(0, &bytes)), reference(&bytes));
        }

        #[test]
        fn sum_goes_on_over_even_pieces(
            first in proptest::collection::vec(any::<u16>(), 0..50),
            second in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let first: Vec<u8> = first.iter().flat_map(|word| word.to_be_bytes()).collect();
            let whole = [&first[..], &second[..]].concat();
            prop_assert_eq!(fold(sum(sum(0, &first), &second)), fold(sum(0, &whole)));
        }
    }

    #[test]
    fn a_long_run_of_ones_does_not_overflow() {
        assert_eq!(fold(sum(0, &[0xff; 65_535])), reference(&[0xff; 65_535]));
    }
}
