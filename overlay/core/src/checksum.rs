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
