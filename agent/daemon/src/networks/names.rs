//! What the networks' forwarders tell, and which names this host keeps to itself.

use std::sync::Arc;

use agent_api::{ApiError, QueryLogEntry};
use agent_core::endpoint::Attach;
use dns_core::PrivateNames;
use tokio::sync::mpsc;

use super::{Networks, Place};
use crate::edge::SharedZone;

impl Networks {
    /// Follows the queries of a network until it is gone.
    pub(crate) fn dns_log(&self, called: &str) -> Result<mpsc::Receiver<QueryLogEntry>, ApiError> {
        let place = self.find(called)?;
        match &place.segment {
            Some(segment) => Ok(segment.edge.log()),
            None => Err(Attach::NoPorts(place.record.name.clone()).into()),
        }
    }

    /// Tells every network which names this host keeps to itself. To be called whenever networks came or went.
    pub(crate) fn share_private_names(&self) {
        self.names.ask(|| tell(&self.places()));
    }
}

fn tell(places: &[Place]) {
    let records = || places.iter().map(|place| &place.record);
    let networks = records()
        .filter(|record| record.has_bridge())
        .map(|record| record.name.as_str());
    let subnets = records()
        .flat_map(|record| &record.subnets)
        .map(|subnet| (subnet.net.network(), subnet.net.prefix_len()))
        .collect();
    let private = Arc::new(PrivateNames::new(networks, subnets));
    let public = public_zones(places);
    for place in places {
        if let Some(segment) = &place.segment {
            let own = segment.edge.zone();
            let others = public.iter().filter(|zone| !Arc::ptr_eq(zone, &own));
            let hidden = others.map(Arc::clone).collect();
            segment.edge.set_private(Arc::clone(&private), hidden);
        }
    }
}

/// The zones of networks that are called like public domains: each hides those of the others.
fn public_zones(places: &[Place]) -> Vec<SharedZone> {
    let public = places
        .iter()
        .filter(|place| PrivateNames::is_public(&place.record.name));
    let zones = public.filter_map(|place| Some(place.segment.as_ref()?.edge.zone()));
    zones.collect()
}
