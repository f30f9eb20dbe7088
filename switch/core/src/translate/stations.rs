//! The stations behind an uplink, by MAC and by address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Mac;

/// A snapshot that never changes.
#[derive(Clone, Debug)]
pub(super) struct Stations {
    pub(super) nic: Mac,
    by_address: BTreeMap<IpAddr, Place>,
    /// With the addresses that were learned of each, the oldest first.
    learned: BTreeMap<Mac, Vec<IpAddr>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    mac: Mac,
    is_on_record: bool,
}

impl Stations {
    pub(super) const fn new(nic: Mac) -> Self {
        Self {
            nic,
            by_address: BTreeMap::new(),
            learned: BTreeMap::new(),
        }
    }

    pub(super) fn has(&self, mac: Mac) -> bool {
        self.learned.contains_key(&mac)
    }

    pub(super) fn station(&self, address: IpAddr) -> Option<Mac> {
        self.by_address.get(&address).map(|place| place.mac)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = (IpAddr, Mac)> {
        let all = self.by_address.iter();
        all.map(|(address, place)| (*address, place.mac))
    }

    pub(super) fn register(&mut self, mac: Mac, addresses: &[IpAddr]) {
        self.by_address
            .retain(|_, place| place.mac != mac || !place.is_on_record);
        self.learned.entry(mac).or_default();
        for address in addresses {
            self.forget_learned(*address);
            let place = Place {
                mac,
                is_on_record: true,
            };
            self.by_address.insert(*address, place);
        }
    }

    pub(super) fn unregister(&mut self, mac: Mac) {
        self.learned.remove(&mac);
        self.by_address.retain(|_, place| place.mac != mac);
    }

    /// Whether a station has an address that nobody is known to have, or that was learned of another.
    pub(super) fn is_news(&self, mac: Mac, address: IpAddr) -> bool {
        let place = self.by_address.get(&address);
        let is_known = place.is_some_and(|place| place.mac == mac || place.is_on_record);
        !is_known && self.has(mac)
    }

    pub(super) fn learn(&mut self, mac: Mac, address: IpAddr) {
        if !self.is_news(mac, address) {
            return;
        }
        self.forget_learned(address);
        let Some(learned) = self.learned.get_mut(&mac) else {
            return;
        };
        learned.push(address);
        let oldest = (learned.len() > LEARNED_MAX).then(|| learned.remove(0));
        if let Some(oldest) = oldest {
            self.by_address.remove(&oldest);
        }
        let place = Place {
            mac,
            is_on_record: false,
        };
        self.by_address.insert(address, place);
    }

    fn forget_learned(&mut self, address: IpAddr) {
        let Some(place) = self.by_address.get(&address).filter(|it| !it.is_on_record) else {
            return;
        };
        if let Some(learned) = self.learned.get_mut(&place.mac) {
            learned.retain(|known| *known != address);
        }
        self.by_address.remove(&address);
    }
}

/// Addresses that are learned of one station: those that it changes to now and then (RFC 8981), and a few more.
pub(super) const LEARNED_MAX: usize = 32;
