//! A number for a text, the same in every version of the program: FNV-1a (RFC 9923), 64 bits.

/// Tells texts apart; keeps nobody from making two of one number.
pub(in crate::lab) fn digest(text: &str) -> u64 {
    text.bytes().fold(OFFSET, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(PRIME)
    })
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    #[test]
    fn digests_are_those_of_the_rfc() {
        assert_eq!(super::digest(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::digest("foobar"), 0x8594_4171_f739_67e8);
    }
}
