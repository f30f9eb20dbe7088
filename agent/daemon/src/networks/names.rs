//! What the networks' forwarders tell, and which names this host keeps to itself.

use agent_api::{ApiError, QueryLogEntry};
use agent_core::endpoint::Attach;
use tokio::sync::mpsc;

use super::{Networks, Place};
use crate::edge::Told;

impl Networks {
    /// Follows the queries of a network until it is gone.
    pub(crate) fn dns_log(&self, called: &str) -> Result<mpsc::Receiver<QueryLogEntry>, ApiError> {
        let place = self.find(called)?;
        match &place.segment {
            Some(segment) => Ok(segment.edge.log()),
            None => Err(Attach::NoPorts(place.record.name.clone()).into()),
        }
    }

    /// Says which names of the network this host keeps to itself. To be called in its turn whenever it came, went or is called
    /// otherwise.
    pub(super) fn keep_names(&self, id: &str) {
        match self.place(id) {
            Some(place) => self.names.enter(id, told(&place)),
            None => self.names.strike(id),
        }
    }
}

fn told(place: &Place) -> Told {
    let record = &place.record;
    let subnets = record.subnets.iter();
    Told {
        name: match record.has_bridge() {
            true => record.name.clone(),
            false => String::new(),
        },
        subnets: subnets
            .map(|subnet| (subnet.net.network(), subnet.net.prefix_len()))
            .collect(),
        zone: place.segment.as_ref().map(|segment| segment.edge.zone()),
    }
}
