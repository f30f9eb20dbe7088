//! Ids of networks.

use std::fmt;

/// A network, whatever VNI its frames bear at the moment: 32 bytes, as its id has them in hexadecimal digits. No two networks ever have
/// the same, and so nothing that is known of one is taken for another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId([u8; 32]);

impl NetworkId {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Of 64 hexadecimal digits in lower case; `None` where it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(bytes))
    }
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_its_digits_say() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(NetworkId::parse(&text).unwrap().to_string(), text);
        for wrong in ["", "0", &text[1..], &format!("{text}0"), &"G".repeat(64)] {
            assert_eq!(NetworkId::parse(wrong), None, "{wrong}");
        }
        assert_eq!(NetworkId::parse(&"A".repeat(64)), None);
    }
}
