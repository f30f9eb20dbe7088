//! The labels by which access lists know endpoints.

use agent_api::{ApiError, EndpointDetail, LabelsUpdate};
use agent_core::record::EndpointRecord;

use super::Endpoints;
use super::plug::host_failure;
use super::settings::changed;

impl Endpoints {
    /// Changes them, from the next frame on. With the record as it is then.
    pub(crate) fn update_labels(
        &self,
        id: &str,
        update: &LabelsUpdate,
    ) -> Result<(EndpointDetail, EndpointRecord), ApiError> {
        let (_turn, place, attached) = self.in_turn(id)?;
        let after = update.of(&attached.record.labels);
        let kept = self.note(&place, id, |record| record.labels = after);
        kept.map_err(|error| host_failure(&place.record, &attached.record, &error))?;
        self.networks.settle_acl(&place.record.id);
        let attached = changed(&place, id)?;
        let record = attached.record.as_ref().clone();
        Ok((attached.detail(&place.record), record))
    }
}
