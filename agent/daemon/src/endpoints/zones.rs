//! Which names a sandbox knows that is on several networks.

use std::sync::Arc;

use agent_core::record::{EndpointRecord, Owner};

use super::{Endpoints, Place};
use crate::edge::Member;
use crate::locks::lock;

impl Endpoints {
    /// A sandbox knows the names of every network that it is on, whichever of their forwarders it asks, and those of the
    /// world if one of the networks is not internal. To be called when one of its endpoints came, in its turn.
    pub(super) fn join_company(&self, place: &Place, record: &EndpointRecord) {
        let Some(segment) = &place.segment else {
            return;
        };
        let company = {
            let mut companies = lock(&self.companies);
            Arc::clone(companies.entry(record.owner.clone()).or_default())
        };
        let edge = &segment.edge;
        let member = Member {
            zone: edge.zone(),
            way_out: (!place.record.internal).then(|| edge.upstream()),
        };
        company.join((record.rank, &record.id), member);
        edge.accompany(&record.id, company);
    }

    /// The same when one went.
    pub(super) fn leave_company(&self, record: &EndpointRecord) {
        let mut companies = lock(&self.companies);
        let company = companies.get(&record.owner);
        if company.is_some_and(|company| company.leave((record.rank, &record.id))) {
            companies.remove(&record.owner);
        }
    }

    /// All endpoints of a sandbox, at the start of the agent.
    pub(crate) fn share_zones(&self, owner: &Owner) {
        for (place, attached) in self.of(owner) {
            self.join_company(&place, &attached.record);
        }
    }
}
