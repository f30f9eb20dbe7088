//! Who has an address.

use std::fmt;

/// Who has an address of a network. What [`fmt::Display`] gives is for people, in refusals; nothing is told apart by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    Gateway,
    /// Somebody whom the network knows by name only.
    Auxiliary(String),
    /// An endpoint of this host, by name.
    Endpoint(String),
    /// An endpoint of another host of the cluster, with both their names.
    Elsewhere {
        endpoint: String,
        host: String,
    },
}

impl Tenant {
    /// Whether the network itself keeps the address from everybody.
    pub const fn is_kept(&self) -> bool {
        matches!(self, Self::Gateway | Self::Auxiliary(_))
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("the gateway"),
            Self::Auxiliary(name) => write!(f, "{name}, whom --aux-address keeps it for"),
            Self::Endpoint(name) => f.write_str(name),
            Self::Elsewhere { endpoint, host } => write!(f, "{endpoint} on {host}"),
        }
    }
}
