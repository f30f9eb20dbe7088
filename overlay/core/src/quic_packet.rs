//! Whom a QUIC packet is for, by what all versions of QUIC have in common (RFC 8999 §5).

/// The connection that a datagram's first packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    pub connection_id: &'a [u8],
    /// Whether the packet belongs to a connection's beginning, when its receiver may not have given it an identifier yet.
    pub is_long: bool,
}

impl<'a> Destination<'a> {
    /// Of a datagram to a host whose own identifiers have `len` bytes: a short header does not say. `None` where the datagram
    /// is too short to be a packet.
    pub fn of(datagram: &'a [u8], len: usize) -> Option<Self> {
        let is_long = datagram.first()? & LONG != 0;
        let (place, len) = match is_long {
            true => (LEN_AT + 1, usize::from(*datagram.get(LEN_AT)?)),
            false => (1, len),
        };
        Some(Self {
            connection_id: datagram.get(place..place + len)?,
            is_long,
        })
    }
}

const LONG: u8 = 0x80;
/// Behind the first byte and the version.
const LEN_AT: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_header_has_it_behind_the_first_byte() {
        let found = Destination::of(&[0x41, 1, 2, 3, 4, 9, 9], 4).unwrap();
        assert_eq!(
            (found.connection_id, found.is_long),
            (&[1, 2, 3, 4][..], false)
        );
        assert_eq!(Destination::of(&[0x41, 1, 2, 3], 4), None);
    }

    #[test]
    fn a_long_header_says_how_long_it_is() {
        let initial = [0xc3, 0, 0, 0, 1, 3, 7, 8, 9, 0];
        let found = Destination::of(&initial, 8).unwrap();
        assert_eq!((found.connection_id, found.is_long), (&[7, 8, 9][..], true));
        for len in 0..9 {
            assert_eq!(Destination::of(&initial[..len], 8), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..40), len in 0_usize..21) {
            let found = Destination::of(&bytes, len);
            prop_assert!(found.is_none_or(|found| found.connection_id.len() < bytes.len()));
        }
    }
}
