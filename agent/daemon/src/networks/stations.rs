//! Configured stations: entries of the forwarding table that nobody needs to learn.
//!
//! # Theory of operation
//!
//! A station is kept by who is behind its port, and entered at the port as soon as that is there, and anew whenever it comes again
//! ([`Networks::settle_stations`]): the switch forgets whatever is behind a port that goes.

use std::collections::BTreeSet;

use agent_api::{ApiError, FdbEntryCreate, FdbPart};
use agent_core::capture::NamedPort;
use agent_core::events::Notice;
use agent_core::station::{Configure, STATIONS, StationRecord, plan_station};
use switch_core::{FdbKind, Mac, PortId};

use super::{Networks, Place};
use crate::locks::lock;

impl Networks {
    pub(crate) fn add_station(
        &self,
        called: &str,
        request: &FdbEntryCreate,
    ) -> Result<(), ApiError> {
        let place = self.find(called)?;
        let network = &place.record;
        let _turn = self.turns.take(network.id.clone());
        let ports = self.named_ports_of(&network.id);
        let (record, kept) = {
            let mut table = lock(&self.table);
            let there = table.stations_of(&network.id);
            let record = plan_station(network, &ports, there.len(), request)?;
            let mac = record.mac();
            if let Some(owner) = place.seats.with_mac(record.mac) {
                return Err(registered(&place, mac, &owner.0.name).into());
            }
            let is_other =
                |other: &StationRecord| other.network != record.network || other.mac != record.mac;
            table.stations.retain(is_other);
            table.stations.insert(record.clone());
            let kept = self.ground.journal.put(&record.key(), &record);
            (record, kept)
        };
        let mac = record.mac();
        let entered = kept.wait().map_err(|error| Configure::Host {
            mac,
            why: error.to_string(),
        });
        let entered = entered.and_then(|()| match enter(&place, &ports, &record) {
            true => Ok(()),
            false => Err(registered(&place, mac, "another host's endpoint")),
        });
        if let Err(error) = entered {
            self.forget_station(&record);
            return Err(error.into());
        }
        let told = Notice::network(network, "fdb-add");
        self.tell(told.with("mac", mac).with("port", &record.owner));
        tracing::info!(network = network.name, %mac, port = record.owner, "station configured");
        Ok(())
    }

    pub(crate) fn remove_station(&self, called: &str, mac: &str) -> Result<(), ApiError> {
        let place = self.find(called)?;
        let network = &place.record;
        let mac: Mac = mac.parse().map_err(Configure::from)?;
        let _turn = self.turns.take(network.id.clone());
        if let Some(owner) = place.seats.with_mac(mac.octets()) {
            return Err(registered(&place, mac, &owner.0.name).into());
        }
        let there = lock(&self.table).stations_of(&network.id);
        let record = there.into_iter().find(|station| station.mac() == mac);
        let is_known = match &record {
            Some(record) => {
                self.forget_station(record);
                true
            }
            None => {
                let segment = place.segment.as_ref();
                segment.is_some_and(|segment| segment.bridge.forget_station(mac))
            }
        };
        if !is_known {
            let network = network.name.clone();
            return Err(Configure::NotThere { network, mac }.into());
        }
        self.tell(Notice::network(network, "fdb-rm").with("mac", mac));
        Ok(())
    }

    /// Forgets what was learned, or what was configured, at one port or at all.
    pub(crate) fn flush_fdb(
        &self,
        called: &str,
        port: Option<&str>,
        part: FdbPart,
    ) -> Result<(), ApiError> {
        let place = self.find(called)?;
        let Some(segment) = &place.segment else {
            return Ok(());
        };
        let ports = self.named_ports_of(&place.record.id);
        let wanted = ports
            .iter()
            .filter(|named| port.is_none_or(|word| named.is_called(word)));
        let wanted: Vec<_> = wanted.collect();
        if let (Some(word), true) = (port, wanted.is_empty()) {
            let network = place.record.name.clone();
            let word = word.to_owned();
            return Err(Configure::NoPort { network, word }.into());
        }
        match part {
            FdbPart::Learned => {
                for port in wanted {
                    segment.bridge.fdb().flush_learned(port.port);
                }
            }
            FdbPart::Static => {
                let _turn = self.turns.take(place.record.id.clone());
                let there = lock(&self.table).stations_of(&place.record.id);
                for station in there {
                    let mut wanted = wanted.iter();
                    if port.is_none() || wanted.any(|port| port.owner == station.owner) {
                        self.forget_station(&station);
                    }
                }
            }
        }
        Ok(())
    }

    /// Enters the stations of a network whose ports have come, as far as they are there.
    pub(crate) fn settle_stations(&self, id: &str) {
        let stations = lock(&self.table).stations_of(id);
        if stations.is_empty() {
            return;
        }
        let Some(place) = self.place(id) else { return };
        let ports = self.named_ports_of(id);
        for station in stations {
            if !is_there(&place, &ports, &station) && !enter(&place, &ports, &station) {
                let (network, mac) = (&place.record.name, station.mac());
                tracing::warn!(network, %mac, "a configured station is an endpoint's own MAC by now");
            }
        }
    }

    /// What is on record for a network, before any port of that is read.
    pub(super) fn restore_stations_of(&self, id: &str) {
        let kept = self.ground.journal.list(&format!("{STATIONS}{id}/"));
        match kept {
            Ok(stations) => lock(&self.table).stations.extend::<Vec<_>>(stations),
            Err(error) => tracing::warn!(%error, "configured stations come later"),
        }
    }

    /// What was configured before the agent's start; what is of a network that is gone is forgotten.
    pub(crate) fn restore_stations(&self, stations: Vec<StationRecord>) {
        let mut networks = BTreeSet::new();
        for station in stations {
            if self.place(&station.network).is_none() {
                self.forget_station(&station);
                continue;
            }
            networks.insert(station.network.clone());
            lock(&self.table).stations.insert(station);
        }
        for id in networks {
            self.settle_stations(&id);
        }
    }

    /// The network is about to go.
    pub(super) fn forget_stations(&self, id: &str) {
        let stations = lock(&self.table).stations_of(id);
        for station in stations {
            self.forget_station(&station);
        }
    }

    /// Without its record a station is not entered at the next start; one that stays is entered then.
    fn forget_station(&self, station: &StationRecord) {
        lock(&self.table).stations.remove(station);
        let place = self.place(&station.network);
        if let Some(segment) = place.and_then(|place| place.segment) {
            segment.bridge.forget_station(station.mac());
        }
        if let Err(error) = self.ground.journal.forget(&station.key()).wait() {
            tracing::warn!(%error, "a configured station stays on record");
        }
    }
}

impl super::Table {
    fn stations_of(&self, id: &str) -> Vec<StationRecord> {
        let stations = self.stations.iter();
        let own = stations.filter(|station| station.network == id);
        own.cloned().collect()
    }
}

/// Enters the station where its port is there. `false`: its MAC is somebody's for good.
fn enter(place: &Place, ports: &[NamedPort], station: &StationRecord) -> bool {
    let port = port_of(ports, station);
    match (&place.segment, port) {
        (Some(segment), Some(port)) => {
            let bridge = &segment.bridge;
            bridge.enter_station(station.mac(), port, station.kind())
        }
        _ => true,
    }
}

/// Whether the table has it already; one that is not sticky may have gone elsewhere.
fn is_there(place: &Place, ports: &[NamedPort], station: &StationRecord) -> bool {
    let (Some(segment), Some(port)) = (&place.segment, port_of(ports, station)) else {
        return true;
    };
    let bridge = &segment.bridge;
    match bridge.fdb().find(bridge.station_at(port, station.mac())) {
        Some((at, FdbKind::Sticky)) => at == port,
        Some((_, kind)) => kind == station.kind(),
        None => false,
    }
}

fn port_of(ports: &[NamedPort], station: &StationRecord) -> Option<PortId> {
    let mut ports = ports.iter();
    let port = ports.find(|port| port.owner == station.owner);
    port.map(|port| port.port)
}

fn registered(place: &Place, mac: Mac, owner: &str) -> Configure {
    Configure::Registered {
        mac,
        owner: owner.to_owned(),
        network: place.record.name.clone(),
    }
}
