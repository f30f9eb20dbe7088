//! Where this host is on the underlay.

use std::net::{IpAddr, SocketAddr};

use crate::settings::Settings;

/// An address, and who knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: IpAddr,
    /// Whether the address is the one from which this host reaches the signer, and changes with that.
    pub(crate) follows_way: bool,
    /// Whether the others know.
    pub(crate) is_told: bool,
    /// Where hosts are admitted and certificates renewed.
    pub(crate) signer: SocketAddr,
    /// Whether this host, as the signer, serves there already. On other hosts always true.
    pub(crate) is_served: bool,
}

impl Place {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            address: settings.address,
            follows_way: settings.follows_way,
            // The first session tells.
            is_told: true,
            signer: settings.signer,
            is_served: true,
        }
    }
}
