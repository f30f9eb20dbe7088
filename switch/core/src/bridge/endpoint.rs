//! An endpoint that somebody has registered at a bridge, with the addresses that are its own.

use std::net::IpAddr;

use crate::neighbors::{Neighbor, Neighbors, link_local};
use crate::vlan::{PortVlans, Vid};
use crate::{Fdb, FdbKind, Mac, PortId, Station};

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) mac: Mac,
    pub(super) port: PortId,
    pub(super) addresses: Vec<IpAddr>,
    /// Where its MAC is its own; the addresses live in the native one. Absent where the network is not aware of VLANs.
    pub(super) vlans: Option<PortVlans>,
}

impl Endpoint {
    pub(super) const fn neighbor(&self) -> Neighbor {
        Neighbor {
            mac: self.mac,
            port: Some(self.port),
        }
    }

    /// Enters its addresses.
    pub(super) fn arrive(&self, neighbors: &mut Neighbors) {
        let native = self.vlans.as_ref().map(PortVlans::native);
        // One that reads tags alone speaks from its addresses nowhere.
        if native != Some(None) {
            for address in &self.addresses {
                neighbors.insert(native.flatten(), *address, self.neighbor());
            }
        }
    }

    /// Gives the MAC to the port for good, in each of the VLANs.
    pub(super) fn settle(&self, fdb: &Fdb) {
        self.each_station(|station| fdb.insert(station, self.port, FdbKind::Sticky));
    }

    /// Undoes [`Self::settle`], but for the VLANs that a `later` one has settled in.
    pub(super) fn unsettle(&self, fdb: &Fdb, later: Option<&Self>) {
        let later = later.map(|later| &later.vlans);
        let stays = |vlan: Option<Vid>| match (later, vlan) {
            (Some(Some(vlans)), Some(vid)) => vlans.shape(vid).is_some(),
            (later, vlan) => later.is_some() && vlan.is_none(),
        };
        self.each_station(|station| {
            if !stays(station.vlan()) {
                fdb.remove(station);
            }
        });
    }

    fn each_station(&self, mut act: impl FnMut(Station)) {
        match &self.vlans {
            None => act(self.mac.into()),
            Some(vlans) => vlans
                .iter()
                .for_each(|vid| act(Station::new(Some(vid), self.mac))),
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
