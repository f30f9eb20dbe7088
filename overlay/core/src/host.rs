//! Names of hosts.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A host of the cluster, as its certificate names it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(Arc<str>);

impl HostId {
    /// Longest name, in bytes: a DNS label's (RFC 1035 §2.3.4), so that it fits a certificate.
    pub const LEN_MAX: usize = 63;

    /// Checks a name: 1 to 63 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends.
    pub fn new(name: &str) -> Result<Self, ParseHostId> {
        let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = name.as_bytes();
        let is_good = bytes.len() <= Self::LEN_MAX
            && bytes.first().is_some_and(is_plain)
            && bytes.last().is_some_and(is_plain)
            && bytes
                .iter()
                .all(|byte| is_plain(byte) || matches!(byte, b'-' | b'.'));
        if is_good {
            Ok(Self(name.into()))
        } else {
            Err(ParseHostId(name.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Sorts before every name; is none itself.
    pub(crate) fn first() -> Self {
        Self(Arc::from(""))
    }
}

/// Hosts are found by their names.
impl Borrow<str> for HostId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HostId {
    type Err = ParseHostId;

    fn from_str(text: &str) -> Result<Self, ParseHostId> {
        Self::new(text)
    }
}

/// The text is no name of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host name; use 1 to 63 of a-z, 0-9, '-' and '.', as in node-1")]
pub struct ParseHostId(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_label() {
        for good in ["a", "node-1", "h1.example", "0"] {
            assert_eq!(HostId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(HostId::new(bad).is_err(), "{bad:?}");
        }
    }
}
