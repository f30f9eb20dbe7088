//! Which names a sandbox knows that is on several networks.

use agent_core::record::Owner;

use super::Endpoints;
use crate::edge::Others;

impl Endpoints {
    /// A sandbox knows the names of every network that it is on, whichever of their forwarders it asks, and those of the
    /// world if one of the networks is not internal. To be called when one of its endpoints came or went, in its turn.
    pub(crate) fn share_zones(&self, owner: &Owner) {
        let endpoints = self.of(owner);
        for (place, attached) in &endpoints {
            let Some(segment) = &place.segment else {
                continue;
            };
            let others = || {
                let others = endpoints
                    .iter()
                    .filter(|(other, _)| other.record.id != place.record.id);
                others.filter_map(|(other, _)| Some((&other.record, other.segment.as_ref()?)))
            };
            let outward = others().find(|(record, _)| !record.internal);
            let others = Others {
                zones: others().map(|(_, segment)| segment.edge.zone()).collect(),
                way_out: outward.map(|(_, segment)| segment.edge.upstream()),
            };
            segment.edge.set_others(&attached.record.id, others);
        }
    }
}
