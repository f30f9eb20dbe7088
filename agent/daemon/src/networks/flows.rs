//! What is told of flows besides themselves: who is who, and what was dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use agent_core::flows::Names;
use switch_core::Mac;

use super::Networks;
use super::view::Seen;

impl Networks {
    /// Who is who on the network with that id, and what it is called. Nobody is asked.
    pub(crate) fn names_for_flows(&self, id: &str) -> (Names, String) {
        let Ok(seen) = self.see(id) else {
            return (Names::default(), id.to_owned());
        };
        let mut names = names(&seen);
        for remote in self.remote_endpoints(&seen) {
            add(&mut names, &remote.name, &remote.addresses);
            if let Ok(mac) = remote.mac.parse() {
                names.macs.insert(mac, remote.name);
            }
        }
        (names, seen.place.record.name.clone())
    }

    /// What ports of the network with that id have dropped so far, those that are gone included, by reason.
    pub(crate) fn dropped(&self, id: &str) -> BTreeMap<String, u64> {
        let Ok(seen) = self.see(id) else {
            return BTreeMap::new();
        };
        let ids: Vec<_> = seen.owners().into_keys().collect();
        let mut sum = self.gone(&seen);
        for counts in self.ground.switch.counters_of(&ids).values() {
            sum += counts;
        }
        let dropped = sum.drop_reasons();
        dropped
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect()
    }
}

fn names(seen: &Seen) -> Names {
    let record = &seen.place.record;
    let mut names = Names::default();
    let sole: BTreeSet<_> = seen
        .attached
        .iter()
        .filter_map(|attached| attached.plug.port)
        .collect();
    let owners = seen.owners().into_iter();
    names.ports = owners
        .map(|(port, owner)| (port, (owner, sole.contains(&port))))
        .collect();
    add(&mut names, "gateway", &record.gateway_addresses());
    if let Some(segment) = &seen.place.segment {
        names.macs.insert(segment.gateway_mac, "gateway".to_owned());
    }
    for attached in &seen.attached {
        let name = &attached.record.name;
        add(&mut names, name, &attached.record.addresses());
        names
            .macs
            .insert(Mac::new(attached.record.mac), name.clone());
    }
    names
}

fn add(names: &mut Names, name: &str, addresses: &[IpAddr]) {
    let addresses = addresses.iter();
    names
        .addresses
        .extend(addresses.map(|address| (*address, name.to_owned())));
}
