//! Stations that somebody configures, so that the switch need not learn them.
//!
//! # Theory of operation
//!
//! A station is kept by its MAC and by the name of who is behind its port, not by the port's number: a container that comes again has
//! another port, and its stations are there as before. Endpoints' own MACs and the gateway's have their places already, and are not
//! configured.

use agent_api::{ApiError, ErrorKind, FdbEntryCreate};
use serde::{Deserialize, Serialize};
use switch_core::{FdbKind, Mac, ParseMac};

use crate::capture::NamedPort;
use crate::record::NetworkRecord;

/// A configured station, by key `station/<network>/<mac>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StationRecord {
    /// By id.
    pub network: String,
    pub mac: [u8; 6],
    /// Who is behind the port, as `port ls` has it.
    pub owner: String,
    pub sticky: bool,
}

impl StationRecord {
    /// Where the store has it.
    pub fn key(&self) -> String {
        format!("{STATIONS}{}/{}", self.network, self.mac())
    }

    pub const fn mac(&self) -> Mac {
        Mac::new(self.mac)
    }

    /// What it is in the forwarding table.
    pub const fn kind(&self) -> FdbKind {
        match self.sticky {
            true => FdbKind::Sticky,
            false => FdbKind::Static,
        }
    }
}

/// `POST` and `DELETE /v1/networks/{name}/fdb`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Configure {
    #[error("{0}")]
    Mac(#[from] ParseMac),
    #[error("{0} is a group's address or nobody's; a station's has an even first byte")]
    NotStation(Mac),
    #[error("{mac} is {owner}'s own and has its place in network {network:?}")]
    Registered {
        mac: Mac,
        owner: String,
        network: String,
    },
    #[error(
        "network {network:?} has no port {word:?}; `tapestry port ls {network}` lists its ports"
    )]
    NoPort { network: String, word: String },
    #[error("behind port {0:?} is the gateway, and no other station")]
    NoStation(String),
    #[error(
        "network {network:?} does not know {mac}; `tapestry fdb ls {network}` lists what it knows"
    )]
    NotThere { network: String, mac: Mac },
    #[error("{0} stations are configured in network {1:?} already; remove some")]
    Many(usize, String),
    #[error("configuring {mac}: {why}")]
    Host { mac: Mac, why: String },
}

impl From<Configure> for ApiError {
    fn from(error: Configure) -> Self {
        let kind = match &error {
            Configure::Mac(_) | Configure::NotStation(_) | Configure::NoStation(_) => {
                ErrorKind::Invalid
            }
            Configure::Registered { .. } => ErrorKind::Conflict,
            Configure::NoPort { .. } | Configure::NotThere { .. } => ErrorKind::NotFound,
            Configure::Many(..) => ErrorKind::Exhausted,
            Configure::Host { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// A station that may be, behind a port that is there; the network has so many already.
pub fn plan_station(
    network: &NetworkRecord,
    ports: &[NamedPort],
    configured: usize,
    request: &FdbEntryCreate,
) -> Result<StationRecord, Configure> {
    let mac: Mac = request.mac.parse()?;
    if !mac.is_station() {
        return Err(Configure::NotStation(mac));
    }
    if mac == network.gateway_mac() {
        return Err(Configure::Registered {
            mac,
            owner: "the gateway".to_owned(),
            network: network.name.clone(),
        });
    }
    let port = ports.iter().find(|port| port.is_called(&request.port));
    let port = port.ok_or_else(|| Configure::NoPort {
        network: network.name.clone(),
        word: request.port.clone(),
    })?;
    if port.owner == GATEWAY && port.sandbox.is_none() {
        return Err(Configure::NoStation(port.owner.clone()));
    }
    if configured >= STATIONS_MAX {
        return Err(Configure::Many(STATIONS_MAX, network.name.clone()));
    }
    Ok(StationRecord {
        network: network.id.clone(),
        mac: mac.octets(),
        owner: port.owner.clone(),
        sticky: request.sticky,
    })
}

/// What the keys of [`StationRecord`]s begin with.
pub const STATIONS: &str = "station/";
/// The owner of the edge's port.
const GATEWAY: &str = "gateway";
/// In one network.
const STATIONS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Owner;
    use crate::sample;
    use switch_core::PortId;

    fn ports() -> Vec<NamedPort> {
        let named = |(number, owner): (u32, &str)| NamedPort {
            port: PortId(number),
            owner: owner.to_owned(),
            link: None,
            sandbox: (owner == "web").then(|| Owner::Container("c".into())),
        };
        [(1, "gateway"), (2, "host"), (3, "web")]
            .map(named)
            .to_vec()
    }

    fn planned(mac: &str, port: &str) -> Result<StationRecord, Configure> {
        let network = sample::network("n", &["10.1.0.0/24"]);
        let request = FdbEntryCreate {
            mac: mac.to_owned(),
            port: port.to_owned(),
            sticky: false,
        };
        plan_station(&network, &ports(), 0, &request)
    }

    #[test]
    fn a_station_is_kept_by_who_is_behind_its_port() {
        let station = planned("0a:00:00:00:00:01", "3").unwrap();
        assert_eq!(station.owner, "web");
        assert!(station.key().ends_with("/0a:00:00:00:00:01"));
        assert_eq!(planned("0a:00:00:00:00:01", "web"), Ok(station));
        assert!(planned("0a:00:00:00:00:01", "host").is_ok());
    }

    #[test]
    fn what_has_its_place_already_or_is_no_station_is_refused() {
        let mac = "0a:00:00:00:00:01";
        for (mac, port, told) in [
            ("0b:00:00:00:00:01", "web", "even first byte"),
            ("nonsense", "web", "nonsense"),
            ("02:42:0a:01:00:01", "web", "is the gateway's own"),
            (mac, "db", "port ls"),
            (mac, "gateway", "is the gateway, and no other"),
        ] {
            let refused = planned(mac, port).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
        let network = sample::network("n", &[]);
        let request = FdbEntryCreate {
            mac: mac.to_owned(),
            port: "web".to_owned(),
            sticky: true,
        };
        let many = plan_station(&network, &ports(), STATIONS_MAX, &request);
        assert!(matches!(many, Err(Configure::Many(..))));
    }
}
