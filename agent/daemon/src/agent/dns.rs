//! Names of networks: the options that concern them, and what their forwarders tell.

use std::sync::Arc;

use agent_api::{ApiError, QueryLogEntry};
use dns_core::PrivateNames;
use tokio::sync::mpsc;

use super::Agent;
use super::state::{Segment, State};
use crate::edge::{Others, SharedZone};
use crate::record::Owner;
use agent_core::endpoint::Attach;

impl Agent {
    /// Follows the queries of a network until it is gone.
    pub(crate) fn dns_log(&self, called: &str) -> Result<mpsc::Receiver<QueryLogEntry>, ApiError> {
        let state = self.state();
        let network = state.network(called)?;
        match &network.segment {
            Some(segment) => Ok(segment.edge.log()),
            None => Err(Attach::NoPorts(network.record.name.clone()).into()),
        }
    }

    /// Tells every network which names this host keeps to itself. To be called whenever networks came or went.
    pub(super) fn share_private_names(&self, state: &State) {
        let records = || state.networks.values().map(|network| &network.record);
        let networks = records()
            .filter(|record| record.has_bridge())
            .map(|record| record.name.as_str());
        let subnets = records()
            .flat_map(|record| &record.subnets)
            .map(|subnet| (subnet.net.network(), subnet.net.prefix_len()))
            .collect();
        let private = Arc::new(PrivateNames::new(networks, subnets));
        let segments = state
            .networks
            .values()
            .filter_map(|network| network.segment.as_ref());
        for segment in segments {
            let hidden = public_zones(state, segment);
            segment.edge.set_private(Arc::clone(&private), hidden);
        }
    }
}

/// The zones of the other networks that are called like public domains.
fn public_zones(state: &State, own: &Segment) -> Vec<SharedZone> {
    let public = state
        .networks
        .values()
        .filter(|network| PrivateNames::is_public(&network.record.name));
    let segments = public.filter_map(|network| network.segment.as_ref());
    let zones = segments.map(|segment| segment.edge.zone());
    zones
        .filter(|zone| !Arc::ptr_eq(zone, &own.edge.zone()))
        .collect()
}

/// A sandbox knows the names of every network that it is on, whichever of their forwarders it asks, and those of the
/// world if one of the networks is not internal. To be called when one of its endpoints came or went.
pub(super) fn share_zones(state: &State, owner: &Owner) {
    let attached = || {
        state.networks.values().filter_map(|network| {
            network.endpoints_of(owner).next()?;
            Some((network, network.segment.as_ref()?))
        })
    };
    for (network, segment) in attached() {
        let others = || attached().filter(|(other, _)| other.record.id != network.record.id);
        let outward = || others().find(|(other, _)| !other.record.internal);
        for endpoint in network.endpoints_of(owner) {
            let others = Others {
                zones: others().map(|(_, segment)| segment.edge.zone()).collect(),
                way_out: outward().map(|(_, segment)| segment.edge.upstream()),
            };
            segment.edge.set_others(&endpoint.record.id, others);
        }
    }
}
