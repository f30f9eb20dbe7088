//! Stations that nobody needs to hear: configured ones, and those that are remembered.

use std::time::Duration;

use super::Bridge;
use crate::vlan::{PortVlans, Vid};
use crate::{FdbKind, Mac, PortId, Station, Time};

impl Bridge {
    /// Configures a station at a port, in place of what was known of it. Not one that is registered for good: `false`, and
    /// nothing changes. In a network that is aware of VLANs it lives in the port's native one, or else in the network's own.
    pub fn enter_station(&self, mac: Mac, port: PortId, kind: FdbKind) -> bool {
        let endpoints = self.turn();
        let topology = self.ports.load();
        let is_free = !endpoints.contains_key(&mac) && !topology.is_gateway(mac);
        if is_free && topology.port(port).is_some() {
            self.fdb.insert(self.station_at(port, mac), port, kind);
        }
        is_free
    }

    /// Which station a MAC is that is configured at a port.
    pub fn station_at(&self, port: PortId, mac: Mac) -> Station {
        let topology = self.ports.load();
        let vlans = topology.port(port).and_then(|port| port.vlans.as_ref());
        let native = vlans.and_then(PortVlans::native);
        Station::new(native.or(self.home()), mac)
    }

    /// Forgets a station of any kind, in every VLAN, unless it is registered for good. Whether it was known.
    pub fn forget_station(&self, mac: Mac) -> bool {
        let endpoints = self.turn();
        if endpoints.contains_key(&mac) {
            return false;
        }
        match self.config.vlans {
            None => self.fdb.remove(mac),
            Some(_) => {
                let everywhere = Vid::all().map(|vid| Station::new(Some(vid), mac));
                everywhere.filter(|one| self.fdb.remove(*one)).count() > 0
            }
        }
    }

    /// Enters what a bridge before this one had learned at the port, where that learns; each MAC with its age.
    pub fn recall(&self, now: Time, port: PortId, learned: &[(Station, Duration)]) {
        let config = self.port_config(port).filter(|config| config.learning);
        let Some(config) = config else {
            return;
        };
        let limit = usize::try_from(config.learn_limit).unwrap_or(usize::MAX);
        for (station, age) in learned {
            self.fdb.recall(now, *station, port, *age, limit);
        }
    }
}
