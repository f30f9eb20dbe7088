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
//! In a network that is aware of VLANs an address lives in one of them, and is nobody's in the others.
//!
//! One thing changes in place, and is shared by all snapshots: the MAC an owner speaks from. It is the registered one until
//! the owner says otherwise on its own port, since a container may give its link another.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::address::Address;
use crate::splitmix::GOLDEN;
use crate::vlan::Vid;
use crate::{Mac, PortId};

/// Addresses a network answers for and guards: the gateway's and the registered endpoints'.
#[derive(Clone, Debug)]
pub struct Neighbors {
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
    pub(crate) fn new() -> Self {
        Self {
            chunks: vec![Arc::default(); CHUNKS],
        }
    }

    /// The same owners, whose MACs are heard apart from these.
    pub(crate) fn copy(&self) -> Self {
        let chunks = self.chunks.iter().map(|chunk| {
            let owners = chunk.iter().map(Owner::copy);
            Arc::new(owners.collect())
        });
        Self {
            chunks: chunks.collect(),
        }
    }

    pub fn lookup(&self, address: IpAddr) -> Option<Neighbor> {
        self.find(Address::from(address)).map(Owner::neighbor)
    }

    /// As [`Self::lookup`], if it lives in that VLAN.
    pub(crate) fn lookup_in(&self, vlan: Option<Vid>, address: IpAddr) -> Option<Neighbor> {
        let owner = self.find(Address::from(address));
        owner
            .filter(|owner| owner.vlan == vlan)
            .map(Owner::neighbor)
    }

    /// The owner of an address, in whichever VLAN it lives.
    pub(crate) fn find(&self, key: Address) -> Option<&Owner> {
        let chunk = self.chunks.get(place(key))?;
        let at = chunk.binary_search_by_key(&key, |owner| owner.key).ok()?;
        chunk.get(at)
    }

    /// Enters an address that lives in a VLAN. The gateway's stay the gateway's.
    pub(crate) fn insert(&mut self, vlan: Option<Vid>, address: IpAddr, neighbor: Neighbor) {
        let key = Address::from(address);
        let place = place(key);
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        let owner = Owner::new(key, vlan, neighbor);
        match chunk.binary_search_by_key(&key, |owner| owner.key) {
            Ok(at) if chunk[at].port.is_some() || neighbor.port.is_none() => chunk[at] = owner,
            Ok(_) => {}
            Err(at) => chunk.insert(at, owner),
        }
    }

    /// Removes an address if it is still that neighbor's.
    pub(crate) fn remove(&mut self, address: IpAddr, neighbor: Neighbor) {
        let key = Address::from(address);
        let is_its = |owner: &Owner| {
            owner.key == key
                && owner.registered == neighbor.mac.to_bits()
                && owner.port == neighbor.port
        };
        if self.find(key).is_some_and(is_its) {
            let place = place(key);
            Arc::make_mut(&mut self.chunks[place]).retain(|owner| owner.key != key);
        }
    }
}

/// The chunk that an address is in. Multiplicative hashing will do: the network chooses the addresses, not their users.
fn place(address: Address) -> usize {
    let bits = address.bits();
    let folded = (bits ^ (bits >> 64)) & u128::from(u64::MAX);
    let spread = (folded * u128::from(GOLDEN)) & u128::from(u64::MAX);
    // Below `CHUNKS`.
    usize::try_from(spread >> (u64::BITS - CHUNKS.ilog2())).unwrap_or(0)
}

/// The owner of one address.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    key: Address,
    pub(crate) vlan: Option<Vid>,
    /// `None`: the gateway.
    pub(crate) port: Option<PortId>,
    /// As [`Mac::to_bits`], and so the next.
    registered: u64,
    /// The MAC that it last spoke from.
    heard: Arc<AtomicU64>,
}

impl Owner {
    fn new(key: Address, vlan: Option<Vid>, neighbor: Neighbor) -> Self {
        Self {
            key,
            vlan,
            port: neighbor.port,
            registered: neighbor.mac.to_bits(),
            heard: Arc::new(AtomicU64::new(neighbor.mac.to_bits())),
        }
    }

    fn copy(&self) -> Self {
        Self {
            heard: Arc::new(AtomicU64::new(self.heard.load(Ordering::Relaxed))),
            ..*self
        }
    }

    fn neighbor(&self) -> Neighbor {
        Neighbor {
            mac: self.mac(),
            port: self.port,
        }
    }

    pub(crate) fn mac(&self) -> Mac {
        Mac::from_bits(self.heard.load(Ordering::Relaxed))
    }

    pub(crate) fn is_registered_with(&self, mac: Mac) -> bool {
        self.registered == mac.to_bits()
    }

    /// Whether it speaks from `mac` as it did before, and that is the registered one.
    pub(crate) fn is_known_by(&self, mac: Mac) -> bool {
        self.is_registered_with(mac) && self.heard.load(Ordering::Relaxed) == self.registered
    }

    /// The owner speaks from `mac` from now on.
    pub(crate) fn hear(&self, mac: Mac) {
        let bits = mac.to_bits();
        if self.heard.load(Ordering::Relaxed) != bits {
            self.heard.store(bits, Ordering::Relaxed);
        }
    }
}

/// The link-local address that hosts make from a MAC (RFC 4291 appendix A).
pub(crate) fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

/// Enough that a chunk stays short, few enough that their pointers are copied in a microsecond.
const CHUNKS: usize = 128;

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
        let mut neighbors = Neighbors::new();
        let address = |n: u16| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + u32::from(n)));
        for n in 0..5000 {
            neighbors.insert(None, address(n), neighbor(1));
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
        let on_wire = Address::on_wire(&[10, 0, 0, 1]).unwrap();
        assert_eq!(neighbors.find(on_wire).unwrap().port, Some(PORT));
        assert!(Address::on_wire(&[10, 0]).is_none());
    }

    #[test]
    fn an_owner_is_known_by_the_mac_it_speaks_from() {
        let mut neighbors = Neighbors::new();
        let address = IpAddr::from([10, 0, 0, 1]);
        neighbors.insert(None, address, neighbor(1));
        let later = neighbors.clone();
        let owner = neighbors.find(address.into()).unwrap();
        assert!(owner.is_known_by(neighbor(1).mac));
        owner.hear(neighbor(2).mac);
        assert_eq!(later.lookup(address), Some(neighbor(2)));
        assert!(!owner.is_known_by(neighbor(2).mac), "others may not know");
        assert!(!owner.is_known_by(neighbor(1).mac), "nor that it is back");
        owner.hear(neighbor(1).mac);
        assert!(owner.is_known_by(neighbor(1).mac));
        owner.hear(neighbor(2).mac);
        neighbors.remove(address, neighbor(1));
        assert_eq!(neighbors.lookup(address), None);
    }
}
