//! Netlink attributes, for the message families that no crate here decodes.
//!
//! ```text
//! length 2 | type 2 | value, padded to 4        (linux/netlink.h: struct nlattr)
//! ```

/// The attributes in `bytes`: type without its flags, and value. Ends at the first malformed one.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [length_0, length_1, kind_0, kind_1, ..] = *bytes else {
            return None;
        };
        let length = usize::from(u16::from_ne_bytes([length_0, length_1]));
        let value = bytes.get(HEADER_BYTES..length)?;
        let kind = u16::from_ne_bytes([kind_0, kind_1]) & TYPE_MASK;
        bytes = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of that type.
pub fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

/// Messages of one read, each from its `nlmsghdr` on. Ends at the first malformed one.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        if length < MESSAGE_HEADER_BYTES {
            return None;
        }
        let message = bytes.get(..length)?;
        bytes = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some(message)
    })
}

/// Appends an attribute; `kind` with its flags.
pub fn push_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(HEADER_BYTES + value.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

const HEADER_BYTES: usize = 4;
const MESSAGE_HEADER_BYTES: usize = 16;
const ALIGNMENT: usize = 4;
/// Without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const TYPE_MASK: u16 = 0x3fff;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flags_are_no_part_of_the_type_and_padding_is_skipped() {
        let bytes = [5, 0, 1, 0x80, 7, 0, 0, 0, 6, 0, 2, 0, 8, 9];
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(1, &[7][..]), (2, &[8, 9][..])]);
        assert_eq!(attribute(&bytes, 2), Some(&[8, 9][..]));
        assert_eq!(attribute(&bytes, 3), None);
    }

    #[test]
    fn what_is_appended_is_read_again() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 1 | 0x8000, &[7]);
        push_attribute(&mut bytes, 2, &[8, 9, 10, 11]);
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(1, &[7][..]), (2, &[8, 9, 10, 11][..])]);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(attributes(&bytes).count() <= bytes.len());
            prop_assert!(messages(&bytes).count() <= bytes.len());
        }
    }
}
