//! The Internet checksum, changed where a field changes (RFC 1071, RFC 1624).

/// The checksum after a 16-bit field it covers changed from `old` to `new` (RFC 1624 §3, equation 3).
pub fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    !add(add(!checksum, !old), new)
}

/// Adds in ones' complement.
pub(crate) fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// The sum of big-endian words; an odd tail is padded with zero.
pub(crate) fn sum(initial: u16, bytes: &[u8]) -> u16 {
    let (words, tail) = bytes.as_chunks::<2>();
    let sum = words
        .iter()
        .fold(initial, |sum, word| add(sum, u16::from_be_bytes(*word)));
    match tail {
        [last] => add(sum, u16::from_be_bytes([*last, 0])),
        _ => sum,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_updated_checksum_is_the_one_taken_anew(mut words in any::<[u16; 6]>(), at in 0..6_usize, new in any::<u16>()) {
            // A header is never all zeros.
            words[(at + 1) % 6] |= 1;
            let bytes = |words: [u16; 6]| words.map(u16::to_be_bytes).concat();
            let before = !sum(0, &bytes(words));
            let old = std::mem::replace(&mut words[at], new);
            prop_assert_eq!(updated(before, old, new), !sum(0, &bytes(words)));
        }
    }

    #[test]
    fn an_odd_tail_is_padded() {
        assert_eq!(sum(0, &[1, 2, 3]), 0x0402);
        assert_eq!(sum(0, &[]), 0);
    }
}
