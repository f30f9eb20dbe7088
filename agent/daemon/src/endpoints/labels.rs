//! The labels by which access lists know endpoints.

use agent_api::{ApiError, EndpointDetail, LabelsUpdate};
use agent_core::find::Find;
use agent_core::record::EndpointRecord;

use super::Endpoints;
use super::plug::host_failure;
use crate::journal::Kept;

impl Endpoints {
    /// Changes them, from the next frame on. With the record as it is then.
    pub(crate) fn update_labels(
        &self,
        id: &str,
        update: &LabelsUpdate,
    ) -> Result<(EndpointDetail, EndpointRecord), ApiError> {
        let (_, attached) = self.find(id)?;
        let _turn = self.turns.take(attached.record.owner.clone());
        // It may have gone before the turn came.
        let (place, attached) = self.find(id)?;
        let after = update.of(&attached.record.labels);
        let journal = &self.ground.journal;
        let change = |record: &mut EndpointRecord| record.labels = after;
        let kept = place.seats.change(id, journal, change);
        let kept = kept.map(Kept::wait).transpose();
        kept.map_err(|error| host_failure(&place.record, &attached.record, &error))?;
        self.networks.settle_acl(&place.record.id);
        let attached = place.seats.get(id);
        let attached = attached.ok_or_else(|| Find::NoEndpoint(id.to_owned()))?;
        let record = attached.record.as_ref().clone();
        Ok((attached.detail(&place.record), record))
    }
}
