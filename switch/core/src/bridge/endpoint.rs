//! An endpoint that somebody has registered at a bridge, with the addresses that are its own.

use std::net::IpAddr;

use crate::neighbors::{Neighbor, Neighbors, link_local};
use crate::{Mac, PortId};

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) mac: Mac,
    pub(super) port: PortId,
    pub(super) addresses: Vec<IpAddr>,
}

impl Endpoint {
    pub(super) const fn neighbor(&self) -> Neighbor {
        Neighbor {
            mac: self.mac,
            port: Some(self.port),
        }
    }

    /// Takes its addresses away, as far as they are still its own.
    pub(super) fn leave(&self, neighbors: &mut Neighbors) {
        for address in &self.addresses {
            neighbors.remove(*address, self.neighbor());
        }
    }
}

/// A station with IPv6 has one more address, which nobody gave it.
pub(super) fn with_link_local(mac: Mac, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut all = addresses.to_vec();
    if addresses.iter().any(IpAddr::is_ipv6) {
        all.push(link_local(mac).into());
    }
    all
}
