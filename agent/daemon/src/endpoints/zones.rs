//! Which names a sandbox knows that is on several networks.

use std::sync::Arc;

use agent_core::record::Owner;

use super::Endpoints;
use crate::edge::Beside;

impl Endpoints {
    /// A sandbox knows the names of every network that it is on, whichever of their forwarders it asks, and those of the
    /// world if one of the networks is not internal. To be called when one of its endpoints came or went, in its turn.
    pub(crate) fn share_zones(&self, owner: &Owner) {
        let endpoints = self.of(owner);
        let segments = endpoints.iter().filter_map(|(place, attached)| {
            let segment = place.segment.as_ref()?;
            Some((&place.record, segment, &attached.record.id))
        });
        let zones: Arc<[_]> = segments
            .clone()
            .map(|(_, segment, _)| segment.edge.zone())
            .collect();
        let outward = segments.clone().filter(|(record, ..)| !record.internal);
        // Whichever network it is, one of two is another.
        let outward: Vec<_> = outward.take(2).collect();
        for (record, segment, endpoint) in segments {
            let mut others = outward.iter().filter(|(other, ..)| other.id != record.id);
            let beside = Beside {
                zones: Arc::clone(&zones),
                way_out: others.next().map(|(_, other, _)| other.edge.upstream()),
            };
            segment.edge.set_beside(endpoint, beside);
        }
    }
}
