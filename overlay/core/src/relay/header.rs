//! What goes before a UDP payload on its way through a relay.
//!
//! It is the body of a [`crate::DatagramHeader::Relay`] datagram:
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |      leg      |  name length  | name of a host, 1 to 63 bytes   ...
//! +---------------+---------------+-------------------------------+
//! | UDP payload   ...
//! +---------------------------------------------------------------+
//! ```

use crate::HostId;

/// Which way a payload goes, and whose other end it has to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayHeader<'a> {
    pub leg: Leg,
    /// For whom the payload is, or from whom; see [`Leg`].
    pub host: &'a str,
}

/// A payload's way has two legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// To the relay; it is for the host that is named.
    ToRelay,
    /// From the relay; it is from the host that is named.
    FromRelay,
    /// Back from the relay, without the payload: it passes nothing on to the host that is named.
    Refused,
}

impl<'a> RelayHeader<'a> {
    /// Most bytes that the header adds to a datagram's own.
    pub const LEN_MAX: usize = FIXED_LEN + HostId::LEN_MAX;

    /// Length on the wire, in bytes. Never zero.
    #[allow(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        FIXED_LEN + self.host.len()
    }

    /// Splits the body of a datagram into header and payload. `None`: nobody who speaks this version sent it.
    pub fn parse(body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let ([leg, name_len], rest) = body.split_first_chunk()?;
        let leg = match *leg {
            TO_RELAY => Leg::ToRelay,
            FROM_RELAY => Leg::FromRelay,
            REFUSED => Leg::Refused,
            _ => return None,
        };
        let (name, payload) = rest.split_at_checked(usize::from(*name_len))?;
        let host = std::str::from_utf8(name).ok().filter(|name| {
            let len = name.len();
            (1..=HostId::LEN_MAX).contains(&len)
        })?;
        Some((Self { leg, host }, payload))
    }

    /// Appends the header.
    pub fn write(&self, out: &mut impl Extend<u8>) {
        let leg = match self.leg {
            Leg::ToRelay => TO_RELAY,
            Leg::FromRelay => FROM_RELAY,
            Leg::Refused => REFUSED,
        };
        // A name has at most 63 bytes.
        let name_len = u8::try_from(self.host.len()).unwrap_or(0);
        out.extend([leg, name_len]);
        out.extend(self.host.bytes());
    }
}

const FIXED_LEN: usize = 2;
const TO_RELAY: u8 = 1;
const FROM_RELAY: u8 = 2;
const REFUSED: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            host in "[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?",
            leg in prop_oneof![Just(Leg::ToRelay), Just(Leg::FromRelay), Just(Leg::Refused)],
            payload in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let header = RelayHeader { leg, host: &host };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            prop_assert_eq!(bytes.len(), header.len());
            for len in 0..bytes.len() {
                prop_assert_eq!(RelayHeader::parse(&bytes[..len]), None);
            }
            bytes.extend(&payload);
            prop_assert_eq!(RelayHeader::parse(&bytes), Some((header, payload.as_slice())));
        }

        #[test]
        fn what_is_read_is_written_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let Some((header, payload)) = RelayHeader::parse(&bytes) else { return Ok(()) };
            let mut written = Vec::new();
            header.write(&mut written);
            written.extend(payload);
            prop_assert_eq!(written, bytes);
        }
    }

    #[test]
    fn a_name_that_is_none_is_not_read() {
        for bad in [
            &[TO_RELAY, 0, b'a'][..],
            &[TO_RELAY, 1, 0xff],
            &[TO_RELAY, 2, b'a'],
            &[0, 1, b'a'],
            &[9, 1, b'a'],
        ] {
            assert_eq!(RelayHeader::parse(bad), None, "{bad:?}");
        }
        let long = [&[TO_RELAY, 64][..], &[b'a'; 64]].concat();
        assert_eq!(RelayHeader::parse(&long), None);
    }
}
