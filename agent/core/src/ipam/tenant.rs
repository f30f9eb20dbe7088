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
    /// An endpoint of another host of the cluster.
    Elsewhere,
    /// This host itself, for times without the cluster's store.
    Reserve,
}

impl Tenant {
    /// Whether an endpoint of this host may not have the address, although none has it.
    pub const fn is_mark(&self) -> bool {
        matches!(self, Self::Elsewhere | Self::Reserve)
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("the gateway"),
            Self::Auxiliary(name) => write!(f, "{name}, whom --aux-address keeps it for"),
            Self::Endpoint(name) => f.write_str(name),
            Self::Elsewhere => f.write_str("a container on another host"),
            Self::Reserve => f.write_str("this host's reserve"),
        }
    }
}
