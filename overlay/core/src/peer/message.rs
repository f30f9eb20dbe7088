//! Messages between peers.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+---------------+---------------+
//! |   1: hello    | heard (0, 1)  |lowest version |highest version|
//! +---------------+---------------+---------------+---------------+
//! |                         capabilities                          |
//! +---------------------------------------------------------------+
//! |                                                               |
//! +                             epoch                             +
//! |                                                               |
//! +---------------+-----------------------------------------------+
//! | name length   | name of the host, 1 to 63 bytes                 ...
//! +---------------+-----------------------------------------------+
//!
//! +---------------+
//! | 2: keepalive  |
//! +---------------+
//!
//! +---------------+-----------------------------------------------+
//! |   3: letter   | what one agent writes to the other              ...
//! +---------------+-----------------------------------------------+
//! ```
//!
//! What follows the first two is not looked at: a later version may put more there. A letter goes to those only who say that they read
//! such ([`Capabilities::LETTERS`]).

use switch_core::bytes::be32;

use super::config::{Capabilities, Hello};
use crate::{Epoch, HostId};

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Hello {
        hello: Hello,
        /// Whether its sender has the receiver's hello.
        heard: bool,
    },
    Keepalive,
    /// The bytes are the agents' matter.
    Letter(Vec<u8>),
}

/// A message to be sent; a hello is this host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Hello { heard: bool },
    Keepalive,
}

impl Message {
    /// `None` when it is none that this version knows.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            HELLO => Self::parse_hello(bytes),
            KEEPALIVE => Some(Self::Keepalive),
            LETTER => Some(Self::Letter(bytes[1..].to_vec())),
            _ => None,
        }
    }

    fn parse_hello(bytes: &[u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_at_checked(HELLO_LEN)?;
        let name = rest.get(..usize::from(fixed[HELLO_LEN - 1]))?;
        let host = HostId::new(std::str::from_utf8(name).ok()?).ok()?;
        let epoch = u64::from(be32(fixed, 8)) << 32 | u64::from(be32(fixed, 12));
        let hello = Hello {
            versions: (fixed[2], fixed[3]),
            capabilities: Capabilities(be32(fixed, 4)),
            host,
            epoch: Epoch(epoch),
        };
        Some(Self::Hello {
            hello,
            heard: fixed[1] != 0,
        })
    }
}

impl Outgoing {
    /// Appends the message.
    pub(super) fn write(self, own: &Hello, out: &mut Vec<u8>) {
        let Self::Hello { heard } = self else {
            out.push(KEEPALIVE);
            return;
        };
        out.extend([HELLO, u8::from(heard), own.versions.0, own.versions.1]);
        out.extend(own.capabilities.0.to_be_bytes());
        out.extend(own.epoch.0.to_be_bytes());
        let name = own.host.as_str().as_bytes();
        // A name has at most 63 bytes.
        out.push(u8::try_from(name.len()).unwrap_or(0));
        out.extend(name);
    }
}

const HELLO: u8 = 1;
const KEEPALIVE: u8 = 2;
pub(super) const LETTER: u8 = 3;
const HELLO_LEN: usize = 17;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            name in "[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?",
            versions in any::<(u8, u8)>(),
            capabilities in any::<u32>(),
            epoch in any::<u64>(),
            heard in any::<bool>(),
            more in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let hello = Hello {
                versions,
                capabilities: Capabilities(capabilities),
                host: HostId::new(&name).unwrap(),
                epoch: Epoch(epoch),
            };
            let message = Message::Hello { hello: hello.clone(), heard };
            let mut bytes = Vec::new();
            Outgoing::Hello { heard }.write(&hello, &mut bytes);
            for len in 0..bytes.len() {
                prop_assert_eq!(Message::parse(&bytes[..len]), None);
            }
            bytes.extend(more);
            prop_assert_eq!(Message::parse(&bytes), Some(message));
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Message::parse(&bytes);
        }
    }
}
