//! What neighbours may remember of an address.
//!
//! # Theory of operation
//!
//! An address that is used again may come with another MAC, and caches of neighbours hold the old one for up to a minute. A
//! new endpoint announces itself then. Announcements go to everybody, so they are made only where somebody may remember
//! another MAC: on networks with other hosts, and where it is not known that the address had this MAC, or none, before.

use std::collections::HashMap;
use std::net::IpAddr;

use switch_core::{Mac, announcement};

use crate::record::{EndpointRecord, NetworkRecord};

/// Which MAC each address of a network had last.
#[derive(Debug)]
pub struct Past {
    /// `None` where neighbours may know several.
    last: HashMap<IpAddr, Option<Mac>>,
    /// Whether an address that is not in there was nobody's.
    is_complete: bool,
}

impl Past {
    /// Of a network that is just being made.
    pub fn none() -> Self {
        Self {
            last: HashMap::new(),
            is_complete: true,
        }
    }

    /// Of a network that was there before this process.
    pub fn unknown() -> Self {
        Self {
            last: HashMap::new(),
            is_complete: false,
        }
    }

    fn may_be_another(&self, address: IpAddr, mac: Mac) -> bool {
        match self.last.get(&address) {
            Some(last) => *last != Some(mac),
            None => !self.is_complete,
        }
    }

    /// Notes by which MAC neighbours know an address from now on, `None` if by several.
    pub fn note(&mut self, address: IpAddr, mac: Option<Mac>) {
        if self.last.len() >= PAST_MAX && !self.last.contains_key(&address) {
            *self = Self::unknown();
        }
        self.last.insert(address, mac);
    }
}

/// The frames by which an endpoint that was just attached tells everybody of its addresses; noted as told.
pub fn announcements(
    network: &NetworkRecord,
    past: &mut Past,
    endpoint: &EndpointRecord,
) -> Vec<Vec<u8>> {
    let mac = Mac::new(endpoint.mac);
    let mut frames = Vec::new();
    for address in endpoint.addresses() {
        if network.overlay.is_some() || past.may_be_another(address, mac) {
            frames.push(announcement(mac, address));
        }
        past.note(address, Some(mac));
    }
    frames
}

/// Addresses whose past is known; beyond, all are announced again.
const PAST_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn only_another_mac_than_before_is_announced() {
        let mut past = Past::none();
        assert!(!past.may_be_another(address(1), ONE));
        past.note(address(1), Some(ONE));
        assert!(!past.may_be_another(address(1), ONE));
        assert!(past.may_be_another(address(1), OTHER));
        past.note(address(1), None);
        assert!(past.may_be_another(address(1), ONE));
    }

    #[test]
    fn nothing_is_known_of_networks_from_before_or_of_too_many_addresses() {
        assert!(Past::unknown().may_be_another(address(1), ONE));
        let mut past = Past::none();
        for number in 0..=u32::try_from(PAST_MAX).unwrap() {
            past.note(address(number), Some(ONE));
        }
        assert!(past.last.len() <= PAST_MAX);
        assert!(past.may_be_another(address(1), ONE));
    }
}
