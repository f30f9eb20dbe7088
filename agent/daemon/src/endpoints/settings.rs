//! What all changes of an endpoint's settings do alike: a turn of its owner, a record that is kept, a port that is dressed.

use agent_api::ApiError;
use agent_core::find::Find;
use agent_core::record::{EndpointRecord, Owner};
use agent_store::StoreError;
use switch_core::PortId;
use switch_io::Layer;

use super::{Endpoints, Place};
use crate::journal::Kept;
use crate::seats::Attached;
use crate::turns::Turn;

impl Endpoints {
    /// The endpoint, and the turn of its owner.
    pub(super) fn in_turn(&self, id: &str) -> Result<(Turn<'_, Owner>, Place, Attached), ApiError> {
        let (_, attached) = self.find(id)?;
        let turn = self.turns.take(attached.record.owner.clone());
        // It may have gone before the turn came.
        let (place, attached) = self.find(id)?;
        Ok((turn, place, attached))
    }

    /// Changes the endpoint's record, and waits until that is kept.
    pub(super) fn note(
        &self,
        place: &Place,
        id: &str,
        change: impl FnOnce(&mut EndpointRecord),
    ) -> Result<(), StoreError> {
        let kept = place.seats.change(id, &self.ground.journal, change);
        kept.map_or(Ok(()), Kept::wait)
    }

    pub(super) fn dress(&self, port: PortId, layer: Layer) -> std::io::Result<()> {
        let dressed = self.ground.switch.dress(port, layer);
        dressed.map_err(std::io::Error::other)
    }
}

/// The endpoint as it is after a change.
pub(super) fn changed(place: &Place, id: &str) -> Result<Attached, ApiError> {
    let attached = place.seats.get(id);
    attached.ok_or_else(|| Find::NoEndpoint(id.to_owned()).into())
}
