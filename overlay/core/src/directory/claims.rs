//! The claims of all hosts, and the indices over them.
//!
//! Ordered maps throughout, so that equal states are told in equal order on every host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use switch_core::{Mac, Vni};

use super::touched::Touched;
use crate::{HostId, Record, Sequence};

/// All claims, best first for each MAC.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_mac: BTreeMap<(Vni, Mac), Vec<Record>>,
    /// MACs whose best claim has the address.
    by_address: BTreeMap<(Vni, IpAddr), Vec<Mac>>,
    /// Claims of each host in each network.
    members: BTreeMap<(Vni, HostId), usize>,
    by_host: BTreeMap<HostId, BTreeSet<(Vni, Mac)>>,
    count: usize,
}

impl Claims {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn best(&self, vni: Vni, mac: Mac) -> Option<&Record> {
        self.by_mac.get(&(vni, mac))?.first()
    }

    pub(super) fn of_host(&self, vni: Vni, mac: Mac, host: &HostId) -> Option<&Record> {
        let claims = self.by_mac.get(&(vni, mac))?;
        claims.iter().find(|record| record.host == *host)
    }

    pub(super) fn highest(&self, vni: Vni, mac: Mac) -> Sequence {
        let claims = self.by_mac.get(&(vni, mac)).into_iter().flatten();
        claims
            .map(|record| record.sequence)
            .max()
            .unwrap_or_default()
    }

    /// The best of those that have their MAC and claim the address.
    pub(super) fn owner(&self, vni: Vni, address: IpAddr) -> Option<&Record> {
        let macs = self.by_address.get(&(vni, address))?;
        let claimants = macs.iter().filter_map(|mac| self.best(vni, *mac));
        claimants.reduce(|best, other| if other.outranks(best) { other } else { best })
    }

    pub(super) fn members(&self, vni: Vni) -> impl Iterator<Item = &HostId> {
        let from = self.members.range((vni, HostId::first())..);
        let of_network = from.take_while(move |((other, _), _)| *other == vni);
        of_network.map(|((_, host), _)| host)
    }

    pub(super) fn is_member(&self, vni: Vni, host: &HostId) -> bool {
        self.members.contains_key(&(vni, host.clone()))
    }

    /// MACs of a network, in order.
    pub(super) fn macs(&self, vni: Vni) -> impl Iterator<Item = Mac> {
        let range = (vni, Mac::ZERO)..=(vni, Mac::BROADCAST);
        self.by_mac.range(range).map(|((_, mac), _)| *mac)
    }

    pub(super) fn keys(&self) -> Vec<(Vni, Mac, HostId)> {
        let records = self.by_mac.values().flatten();
        records
            .map(|record| (record.vni, record.mac, record.host.clone()))
            .collect()
    }

    pub(super) fn records_of(&self, host: &HostId) -> Vec<Record> {
        let places = self.by_host.get(host).into_iter().flatten();
        places
            .filter_map(|(vni, mac)| self.of_host(*vni, *mac, host))
            .cloned()
            .collect()
    }

    /// Enters a record in place of its host's earlier one.
    pub(super) fn insert(&mut self, record: Record, touched: &mut Touched) {
        let (vni, mac) = (record.vni, record.mac);
        self.unindex(vni, mac, touched);
        self.pull(vni, mac, &record.host, touched);
        let claims = self.by_mac.entry((vni, mac)).or_default();
        let place = claims.partition_point(|other| other.outranks(&record));
        let host = record.host.clone();
        claims.insert(place, record);
        let worst = claims.get(CLAIMS_MAX).map(|worst| worst.host.clone());
        self.join(vni, mac, host, touched);
        if let Some(worst) = worst {
            self.pull(vni, mac, &worst, touched);
        }
        self.index(vni, mac, touched);
    }

    pub(super) fn remove(&mut self, vni: Vni, mac: Mac, host: &HostId, touched: &mut Touched) {
        self.unindex(vni, mac, touched);
        self.pull(vni, mac, host, touched);
        self.index(vni, mac, touched);
    }

    fn join(&mut self, vni: Vni, mac: Mac, host: HostId, touched: &mut Touched) {
        self.count += 1;
        *self.members.entry((vni, host.clone())).or_default() += 1;
        touched.host(vni, &host);
        self.by_host.entry(host).or_default().insert((vni, mac));
    }

    /// Takes a host's claim out of everything but the address index.
    fn pull(&mut self, vni: Vni, mac: Mac, host: &HostId, touched: &mut Touched) {
        let Some(claims) = self.by_mac.get_mut(&(vni, mac)) else {
            return;
        };
        let Some(place) = claims.iter().position(|record| record.host == *host) else {
            return;
        };
        claims.remove(place);
        if claims.is_empty() {
            self.by_mac.remove(&(vni, mac));
        }
        self.count -= 1;
        let key = (vni, host.clone());
        if let Some(left) = self.members.get_mut(&key) {
            *left -= 1;
            if *left == 0 {
                self.members.remove(&key);
            }
        }
        if let Some(places) = self.by_host.get_mut(host) {
            places.remove(&(vni, mac));
            if places.is_empty() {
                self.by_host.remove(host);
            }
        }
        touched.host(vni, host);
    }

    /// Enters the addresses of a MAC's best claim.
    fn index(&mut self, vni: Vni, mac: Mac, touched: &mut Touched) {
        touched.mac(vni, mac);
        let Some(best) = self.by_mac.get(&(vni, mac)).and_then(|all| all.first()) else {
            return;
        };
        for address in &best.addresses {
            let macs = self.by_address.entry((vni, *address)).or_default();
            for other in &*macs {
                touched.mac(vni, *other);
            }
            if !macs.contains(&mac) {
                macs.push(mac);
            }
        }
    }

    fn unindex(&mut self, vni: Vni, mac: Mac, touched: &mut Touched) {
        let Some(best) = self.by_mac.get(&(vni, mac)).and_then(|all| all.first()) else {
            return;
        };
        for address in &best.addresses {
            let key = (vni, *address);
            let Some(macs) = self.by_address.get_mut(&key) else {
                continue;
            };
            macs.retain(|other| *other != mac);
            for other in &*macs {
                touched.mac(vni, *other);
            }
            if macs.is_empty() {
                self.by_address.remove(&key);
            }
        }
    }
}

/// Hosts that claim one MAC.
const CLAIMS_MAX: usize = 8;
