//! The names that this host keeps to itself: said once, and read by the edges of all its networks.
//!
//! # Theory of operation
//!
//! A network that comes or goes is entered here and told to no other one, so that it costs the same among thousands. Who answers a
//! question looks here, under a lock that is held for a look.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, RwLock};

use dns_core::{PrivateNames, Request};

use super::{SharedZone, read, write};
use crate::locks::lock;

/// Of all networks of this host.
#[derive(Default)]
pub(crate) struct HostNames {
    private: Arc<PrivateNames>,
    /// The zones of networks that are called like public domains: others do not ask the world for the names in them.
    public: RwLock<Vec<SharedZone>>,
    /// By network.
    told: Mutex<BTreeMap<String, Told>>,
}

/// What a network has that others shall not ask the world for.
pub(crate) struct Told {
    /// Empty where there are no names.
    pub(crate) name: String,
    /// Address and prefix length.
    pub(crate) subnets: Vec<(IpAddr, u8)>,
    /// Its names, where it has any.
    pub(crate) zone: Option<SharedZone>,
}

impl HostNames {
    /// What the network has from now on, in place of what it had.
    pub(crate) fn enter(&self, network: &str, told: Told) {
        let mut all = lock(&self.told);
        self.private.add(&told.name, &told.subnets);
        if PrivateNames::is_public(&told.name) {
            write(&self.public).extend(told.zone.clone());
        }
        if let Some(before) = all.insert(network.to_owned(), told) {
            self.take_back(&before);
        }
    }

    /// The network has gone.
    pub(crate) fn strike(&self, network: &str) {
        let mut all = lock(&self.told);
        if let Some(before) = all.remove(network) {
            self.take_back(&before);
        }
    }

    pub(super) fn private(&self) -> Arc<PrivateNames> {
        Arc::clone(&self.private)
    }

    /// Whether it is asked for the name of an endpoint of another network than of `own`, although the domain is a public one.
    pub(super) fn hides(&self, own: &SharedZone, request: &Request) -> bool {
        let name = &request.question().name;
        let public = read(&self.public);
        let mut others = public.iter().filter(|zone| !Arc::ptr_eq(zone, own));
        others.any(|zone| read(zone).holds_qualified(name))
    }

    fn take_back(&self, before: &Told) {
        self.private.remove(&before.name, &before.subnets);
        if let (true, Some(gone)) = (PrivateNames::is_public(&before.name), &before.zone) {
            let mut public = write(&self.public);
            let place = public.iter().position(|zone| Arc::ptr_eq(zone, gone));
            place.map(|place| public.remove(place));
        }
    }
}

#[cfg(test)]
mod tests {
    use dns_core::{Answer, Carrier, Policy, Zone, ZoneConfig, answer};

    use super::*;

    fn told(name: &str) -> Told {
        Told {
            name: name.to_owned(),
            subnets: Vec::new(),
            zone: None,
        }
    }

    /// Whether the zone asks the world for `web.<network>`.
    fn asks_the_world(zone: &Zone, network: &str) -> bool {
        let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in ["web", network] {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.extend([0, 0, 1, 0, 1]);
        let answer = answer(zone, &message, Carrier::Udp, Policy::Forward);
        matches!(answer, Answer::Forward(_))
    }

    #[test]
    fn a_network_that_comes_is_known_to_those_there_without_a_word_to_any() {
        let names = HostNames::default();
        let mut zone = Zone::new(ZoneConfig::default());
        zone.set_private(names.private());
        let ask = |network| asks_the_world(&zone, network);
        assert!(ask("lab-1"));
        names.enter("one", told("lab-1"));
        names.enter("two", told("lab-1"));
        assert!(!ask("lab-1"));
        names.enter("one", told("lab-2"));
        assert!(!ask("lab-1") && !ask("lab-2"));
        names.strike("two");
        assert!(ask("lab-1") && !ask("lab-2"));
        names.strike("one");
        names.strike("one");
        assert!(ask("lab-2"));
    }
}
