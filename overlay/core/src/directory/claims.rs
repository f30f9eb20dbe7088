//! The claims of all hosts, and the indices over them.
//!
//! Ordered maps throughout, so that equal states are told in equal order on every host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use switch_core::Mac;

use super::touched::Touched;
use crate::{HostId, NetworkId, Record, Sequence};

/// All claims, best first for each MAC.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_mac: BTreeMap<(NetworkId, Mac), Vec<Record>>,
    /// MACs whose best claim has the address.
    by_address: BTreeMap<(NetworkId, IpAddr), Vec<Mac>>,
    /// Claims of each host in each network.
    members: BTreeMap<(NetworkId, HostId), usize>,
    by_host: BTreeMap<HostId, BTreeSet<(NetworkId, Mac)>>,
    count: usize,
}

impl Claims {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn best(&self, network: NetworkId, mac: Mac) -> Option<&Record> {
        self.by_mac.get(&(network, mac))?.first()
    }

    pub(super) fn of_host(&self, network: NetworkId, mac: Mac, host: &HostId) -> Option<&Record> {
        let claims = self.by_mac.get(&(network, mac))?;
        claims.iter().find(|record| record.host == *host)
    }

    pub(super) fn hosts_of(&self, network: NetworkId, mac: Mac) -> Vec<HostId> {
        let claims = self.by_mac.get(&(network, mac)).into_iter().flatten();
        claims.map(|record| record.host.clone()).collect()
    }

    pub(super) fn highest(&self, network: NetworkId, mac: Mac) -> Sequence {
        let claims = self.by_mac.get(&(network, mac)).into_iter().flatten();
        claims
            .map(|record| record.sequence)
            .max()
            .unwrap_or_default()
    }

    /// The best of those that have their MAC and claim the address.
    pub(super) fn owner(&self, network: NetworkId, address: IpAddr) -> Option<&Record> {
        let macs = self.by_address.get(&(network, address))?;
        let claimants = macs.iter().filter_map(|mac| self.best(network, *mac));
        claimants.reduce(|best, other| if other.outranks(best) { other } else { best })
    }

    pub(super) fn members(&self, network: NetworkId) -> impl Iterator<Item = &HostId> {
        let from = self.members.range((network, HostId::first())..);
        let of_network = from.take_while(move |((other, _), _)| *other == network);
        of_network.map(|((_, host), _)| host)
    }

    pub(super) fn is_member(&self, network: NetworkId, host: &HostId) -> bool {
        self.members.contains_key(&(network, host.clone()))
    }

    /// MACs of a network, in order.
    pub(super) fn macs(&self, network: NetworkId) -> impl Iterator<Item = Mac> {
        let range = (network, Mac::ZERO)..=(network, Mac::BROADCAST);
        self.by_mac.range(range).map(|((_, mac), _)| *mac)
    }

    pub(super) fn keys(&self) -> Vec<(NetworkId, Mac, HostId)> {
        let records = self.by_mac.values().flatten();
        records
            .map(|record| (record.network, record.mac, record.host.clone()))
            .collect()
    }

    pub(super) fn records_of(&self, host: &HostId) -> Vec<Record> {
        let places = self.by_host.get(host).into_iter().flatten();
        places
            .filter_map(|(network, mac)| self.of_host(*network, *mac, host))
            .cloned()
            .collect()
    }

    /// Enters a record in place of its host's earlier one.
    pub(super) fn insert(&mut self, record: Record, touched: &mut Touched) {
        let (network, mac) = (record.network, record.mac);
        self.unindex(network, mac, touched);
        self.pull(network, mac, &record.host, touched);
        let claims = self.by_mac.entry((network, mac)).or_default();
        let place = claims.partition_point(|other| other.outranks(&record));
        let host = record.host.clone();
        claims.insert(place, record);
        let worst = claims.get(CLAIMS_MAX).map(|worst| worst.host.clone());
        self.join(network, mac, host, touched);
        if let Some(worst) = worst {
            self.pull(network, mac, &worst, touched);
        }
        self.index(network, mac, touched);
    }

    pub(super) fn remove(
        &mut self,
        network: NetworkId,
        mac: Mac,
        host: &HostId,
        touched: &mut Touched,
    ) {
        self.unindex(network, mac, touched);
        self.pull(network, mac, host, touched);
        self.index(network, mac, touched);
    }

    fn join(&mut self, network: NetworkId, mac: Mac, host: HostId, touched: &mut Touched) {
        self.count += 1;
        *self.members.entry((network, host.clone())).or_default() += 1;
        touched.host(network, &host);
        self.by_host.entry(host).or_default().insert((network, mac));
    }

    /// Takes a host's claim out of everything but the address index.
    fn pull(&mut self, network: NetworkId, mac: Mac, host: &HostId, touched: &mut Touched) {
        let Some(claims) = self.by_mac.get_mut(&(network, mac)) else {
            return;
        };
        let Some(place) = claims.iter().position(|record| record.host == *host) else {
            return;
        };
        claims.remove(place);
        if claims.is_empty() {
            self.by_mac.remove(&(network, mac));
        }
        self.count -= 1;
        let key = (network, host.clone());
        if let Some(left) = self.members.get_mut(&key) {
            *left -= 1;
            if *left == 0 {
                self.members.remove(&key);
            }
        }
        if let Some(places) = self.by_host.get_mut(host) {
            places.remove(&(network, mac));
            if places.is_empty() {
                self.by_host.remove(host);
            }
        }
        touched.host(network, host);
    }

    /// Enters the addresses of a MAC's best claim.
    fn index(&mut self, network: NetworkId, mac: Mac, touched: &mut Touched) {
        touched.mac(network, mac);
        let Some(best) = self.by_mac.get(&(network, mac)).and_then(|all| all.first()) else {
            return;
        };
        for address in &best.addresses {
            let macs = self.by_address.entry((network, *address)).or_default();
            for other in &*macs {
                touched.mac(network, *other);
            }
            if !macs.contains(&mac) {
                macs.push(mac);
            }
        }
    }

    fn unindex(&mut self, network: NetworkId, mac: Mac, touched: &mut Touched) {
        let Some(best) = self.by_mac.get(&(network, mac)).and_then(|all| all.first()) else {
            return;
        };
        for address in &best.addresses {
            let key = (network, *address);
            let Some(macs) = self.by_address.get_mut(&key) else {
                continue;
            };
            macs.retain(|other| *other != mac);
            for other in &*macs {
                touched.mac(network, *other);
            }
            if macs.is_empty() {
                self.by_address.remove(&key);
            }
        }
    }
}

/// Hosts that claim one MAC.
const CLAIMS_MAX: usize = 8;
