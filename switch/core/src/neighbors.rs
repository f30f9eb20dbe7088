//! Proxy for ARP and neighbor discovery.

use std::net::IpAddr;

use dashmap::DashMap;
use foldhash::quality::FixedState;

use crate::{Mac, PortId};

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    pub mac: Mac,
    /// `None`: the gateway.
    pub port: Option<PortId>,
}

/// Addresses this network answers for: the gateway's and the registered endpoints'.
#[derive(Debug)]
pub struct Neighbors {
    table: DashMap<IpAddr, Neighbor, FixedState>,
}

impl Neighbors {
    pub fn new(hash_seed: u64) -> Self {
        Self {
            table: DashMap::with_hasher(FixedState::with_seed(hash_seed)),
        }
    }

    pub fn insert(&self, address: IpAddr, neighbor: Neighbor) {
        self.table.insert(address, neighbor);
    }

    pub fn remove(&self, address: IpAddr) -> bool {
        self.table.remove(&address).is_some()
    }

    pub fn lookup(&self, address: IpAddr) -> Option<Neighbor> {
        self.table.get(&address).map(|entry| *entry)
    }
}
