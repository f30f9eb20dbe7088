//! How one host asks another for an address.
//!
//! # Theory of operation
//!
//! A host writes a key that says whom it asks, and in which network; its name says for what. The host that is asked gives a part
//! of a block and deletes the key in one transaction, or only deletes it: a refusal. A key that stays was not heard.

use serde::{Deserialize, Serialize};

use super::holdings::Wish;
use super::{ASKS, Entry};

/// A request that is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskRecord {
    /// The host that is asked.
    pub host: String,
}

/// What such a key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub asker: String,
    pub network: String,
    pub wish: Wish,
}

impl Ask {
    pub fn key(&self) -> String {
        let Self {
            asker,
            network,
            wish,
        } = self;
        let wish = match wish {
            Wish::Address(address) => address.to_string(),
            Wish::Any { is_ipv4: true } => IPV4.to_owned(),
            Wish::Any { is_ipv4: false } => IPV6.to_owned(),
        };
        format!("{ASKS}{asker}/{network}/{wish}")
    }

    pub fn of_key(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix(ASKS)?.splitn(3, '/');
        let (asker, network, wish) = (parts.next()?, parts.next()?, parts.next()?);
        let wish = match wish {
            IPV4 => Wish::Any { is_ipv4: true },
            IPV6 => Wish::Any { is_ipv4: false },
            address => Wish::Address(address.parse().ok()?),
        };
        Some(Self {
            asker: asker.to_owned(),
            network: network.to_owned(),
            wish,
        })
    }

    /// One that `host` is to answer.
    pub fn of_entry(entry: &Entry, host: &str) -> Option<Self> {
        let ask = Self::of_key(&entry.key)?;
        let record: AskRecord = entry.decode().ok()?;
        (record.host == host && ask.asker != host).then_some(ask)
    }
}

const IPV4: &str = "ipv4";
const IPV6: &str = "ipv6";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_its_key() {
        for wish in [
            Wish::Any { is_ipv4: true },
            Wish::Any { is_ipv4: false },
            Wish::Address([10, 0, 0, 9].into()),
            Wish::Address("fd00::9".parse().unwrap()),
        ] {
            let ask = Ask {
                asker: "h1".into(),
                network: "n".into(),
                wish,
            };
            assert_eq!(Ask::of_key(&ask.key()), Some(ask.clone()));
            let entry = Entry {
                key: ask.key(),
                value: json!({ "host": "h2" }),
                revision: 1,
            };
            assert_eq!(Ask::of_entry(&entry, "h2"), Some(ask));
            assert_eq!(Ask::of_entry(&entry, "h3"), None);
        }
        assert_eq!(Ask::of_key("ask/h1/n/any"), None);
        assert_eq!(Ask::of_key("ask/h1"), None);
    }
}
