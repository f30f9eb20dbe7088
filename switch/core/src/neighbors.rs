//! Who has which address.
//!
//! # Theory of operation
//!
//! The network knows where its addresses are: the gateway's, and those given to endpoints. The proxy answers with them
//! ([`crate::proxy`]), and the guard holds the source of nearly every frame against them ([`crate::guard`]). So the table is
//! part of the snapshot that forwarding reads anyway, and is searched without a lock.
//!
//! It is cut into chunks by the hash of the address. A change copies one chunk and the pointers to the others, so that the
//! ten-thousandth address costs about as much as the first.
//!
//! One thing changes in place, and is shared by all snapshots: the MAC an owner speaks from. It is the registered one until
//! the owner says otherwise on its own port, since a container may give its link another.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::FixedState;

use crate::{Mac, PortId};

/// Addresses a network answers for and guards: the gateway's and the registered endpoints'.
#[derive(Clone, Debug)]
pub struct Neighbors {
    hasher: FixedState,
    /// [`CHUNKS`] of them, each in the order of its keys.
    chunks: Vec<Arc<Vec<Owner>>>,
}

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    pub mac: Mac,
    /// `None`: the gateway.
    pub port: Option<PortId>,
}

impl Neighbors {
    pub(crate) fn new(hash_seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(hash_seed),
            chunks: vec![Arc::default(); CHUNKS],
        }
    }

    pub fn lookup(&self, address: IpAddr) -> Option<Neighbor> {
        let owner = self.find(Key::from(address))?;
        Some(Neighbor {
            mac: owner.mac(),
            port: owner.port,
        })
    }

    pub(crate) fn find(&self, key: Key) -> Option<&Owner> {
        let chunk = self.chunks.get(self.place(key))?;
        let at = chunk.binary_search_by_key(&key, |owner| owner.key).ok()?;
        chunk.get(at)
    }

    /// Enters an address. The gateway's stay the gateway's.
    pub(crate) fn insert(&mut self, address: IpAddr, neighbor: Neighbor) {
        let key = Key::from(address);
        let place = self.place(key);
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        let owner = Owner::new(key, neighbor);
        match chunk.binary_search_by_key(&key, |owner| owner.key) {
            Ok(at) if chunk[at].port.is_some() || neighbor.port.is_none() => chunk[at] = owner,
            Ok(_) => {}
            Err(at) => chunk.insert(at, owner),
        }
    }

    /// Removes an address if it is still that neighbor's.
    pub(crate) fn remove(&mut self, address: IpAddr, neighbor: Neighbor) {
        let key = Key::from(address);
        let is_its = |owner: &Owner| {
            owner.key == key && owner.registered == neighbor.mac && owner.port == neighbor.port
        };
        if self.find(key).is_some_and(is_its) {
            let place = self.place(key);
            Arc::make_mut(&mut self.chunks[place]).retain(|owner| owner.key != key);
        }
    }

    fn place(&self, key: Key) -> usize {
        let high = self.hasher.hash_one(key) >> (u64::BITS - CHUNKS.ilog2());
        // Below `CHUNKS`.
        usize::try_from(high).unwrap_or(0)
    }
}

/// An address of either family; an IPv4 address is the IPv6 address that it is mapped to (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(u128);

impl Key {
    /// An address on the wire, of 4 or 16 bytes; of any other length it is nobody's.
    pub(crate) fn on_wire(address: &[u8]) -> Self {
        if let Some(v4) = address.first_chunk().filter(|_| address.len() == 4) {
            return Self(MAPPED | u128::from(u32::from_be_bytes(*v4)));
        }
        Self(
            address
                .first_chunk()
                .map_or(0, |v6| u128::from_be_bytes(*v6)),
        )
    }
}

impl From<IpAddr> for Key {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::on_wire(&address.octets()),
            IpAddr::V6(address) => Self::on_wire(&address.octets()),
        }
    }
}

/// The owner of one address.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    key: Key,
    /// `None`: the gateway.
    pub(crate) port: Option<PortId>,
    pub(crate) registered: Mac,
    /// The MAC that it last spoke from.
    heard: Arc<AtomicU64>,
}

impl Owner {
    fn new(key: Key, neighbor: Neighbor) -> Self {
        Self {
            key,
            port: neighbor.port,
            registered: neighbor.mac,
            heard: Arc::new(AtomicU64::new(neighbor.mac.to_bits())),
        }
    }

    pub(crate) fn mac(&self) -> Mac {
        Mac::from_bits(self.heard.load(Ordering::Relaxed))
    }

    /// The owner spoke from `mac`. Says whether others may know it by another one: it changed just now, or is not the
    /// registered one.
    pub(crate) fn hear(&self, mac: Mac) -> bool {
        let has_changed = self.mac() != mac;
        if has_changed {
            self.heard.store(mac.to_bits(), Ordering::Relaxed);
        }
        has_changed || mac != self.registered
    }
}

/// Enough that a chunk stays short, few enough that their pointers are copied in a microsecond.
const CHUNKS: usize = 256;
const MAPPED: u128 = 0xffff_0000_0000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PORT: PortId = PortId(3);

    fn neighbor(n: u8) -> Neighbor {
        Neighbor {
            mac: Mac::new([2, 0, 0, 0, 0, n]),
            port: Some(PORT),
        }
    }

    #[test]
    fn every_address_is_found_and_no_other() {
        let mut neighbors = Neighbors::new(7);
        let address = |n: u16| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + u32::from(n)));
        for n in 0..5000 {
            neighbors.insert(address(n), neighbor(1));
        }
        let before = neighbors.clone();
        for n in (0..5000).step_by(2) {
            neighbors.remove(address(n), neighbor(1));
        }
        for n in 0..5000 {
            assert_eq!(neighbors.lookup(address(n)).is_some(), n % 2 == 1);
            assert!(before.lookup(address(n)).is_some());
        }
        assert_eq!(neighbors.lookup("fd00::1".parse().unwrap()), None);
        let on_wire = Key::on_wire(&[10, 0, 0, 1]);
        assert_eq!(neighbors.find(on_wire).unwrap().port, Some(PORT));
        assert!(neighbors.find(Key::on_wire(&[10, 0])).is_none());
    }

    #[test]
    fn an_owner_is_known_by_the_mac_it_speaks_from() {
        let mut neighbors = Neighbors::new(7);
        let address = IpAddr::from([10, 0, 0, 1]);
        neighbors.insert(address, neighbor(1));
        let later = neighbors.clone();
        let owner = neighbors.find(address.into()).unwrap();
        assert!(!owner.hear(neighbor(1).mac));
        assert!(owner.hear(neighbor(2).mac));
        assert!(owner.hear(neighbor(2).mac), "the others may not know yet");
        assert_eq!(later.lookup(address), Some(neighbor(2)));
        assert!(owner.hear(neighbor(1).mac), "it is back");
        assert!(!owner.hear(neighbor(1).mac));
        owner.hear(neighbor(2).mac);
        neighbors.remove(address, neighbor(1));
        assert_eq!(neighbors.lookup(address), None);
    }
}
