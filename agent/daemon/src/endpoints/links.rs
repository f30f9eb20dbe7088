//! What goes wrong at the links of endpoints.
//!
//! # Theory of operation
//!
//! Settings are of the record, so they are there again before the first frame, whoever made the link again: a start of the container,
//! an agent that takes the place of another. A port wears an impairment only while something is set; without, it is as the workers
//! like it best. Frames that wait when settings change, or go, leave in their order; none is lost.

use agent_api::{ApiError, LinkDetail, LinkSettings, LinkUpdate};
use agent_core::endpoint::Attach;
use agent_core::record::EndpointRecord;
use switch_core::PortId;
use switch_io::ImpairmentControl;

use super::plug::host_failure;
use super::settings::changed;
use super::{Endpoints, Place};
use crate::links::{self, shown, with_seed};
use crate::seats::Attached;

impl Endpoints {
    pub(crate) fn links(&self) -> Vec<LinkDetail> {
        let all = self.all();
        let links = all.iter().map(|(place, attached)| link(place, attached));
        links.collect()
    }

    pub(crate) fn link(&self, id: &str) -> Result<LinkDetail, ApiError> {
        let (place, attached) = self.find(id)?;
        Ok(link(&place, &attached))
    }

    /// Changes what goes wrong, or nothing. With the record as it is then.
    pub(crate) fn update_link(
        &self,
        id: &str,
        update: &LinkUpdate,
    ) -> Result<(LinkDetail, EndpointRecord), ApiError> {
        let (_turn, place, attached) = self.in_turn(id)?;
        let before = attached.record.impairments;
        let after = with_seed(before.updated(update).map_err(Attach::from)?);
        let failed =
            |why: &dyn std::fmt::Display| host_failure(&place.record, &attached.record, why);
        self.note(&place, id, |record| record.impairments = after)
            .map_err(|error| failed(&error))?;
        if let Err(error) = self.wear(&place, &attached, &after) {
            let undone = self.note(&place, id, |record| record.impairments = before);
            if let Err(error) = undone {
                tracing::warn!(id, %error, "a link's settings on record are not what it has");
            }
            return Err(failed(&error).into());
        }
        tracing::info!(
            endpoint = attached.record.name,
            network = place.record.name,
            "link changed"
        );
        let attached = changed(&place, id)?;
        Ok((link(&place, &attached), attached.record.as_ref().clone()))
    }

    /// Gives a port that is new what its record has for it, before anything is read from it.
    pub(super) fn impair(
        &self,
        port: PortId,
        record: &EndpointRecord,
    ) -> std::io::Result<Option<ImpairmentControl>> {
        links::wear(&self.ground.switch, port, None, &record.impairments)
    }

    /// Has the endpoint's port, if there is one, wear what is set. In its owner's turn.
    fn wear(
        &self,
        place: &Place,
        attached: &Attached,
        settings: &LinkSettings,
    ) -> std::io::Result<()> {
        let Some(port) = attached.plug.port else {
            return Ok(());
        };
        let worn = attached.plug.impairment.clone();
        let is_new = worn.is_none() != settings.are_none();
        let worn = links::wear(&self.ground.switch, port, worn, settings)?;
        if is_new {
            place.seats.impair(&attached.record.id, worn);
        }
        Ok(())
    }
}

fn link(place: &Place, attached: &Attached) -> LinkDetail {
    let record = &attached.record;
    let worn = attached.plug.impairment.as_ref();
    let (from, to) = worn.map(ImpairmentControl::counts).unwrap_or_default();
    LinkDetail {
        endpoint: record.id.clone(),
        name: record.name.clone(),
        network: place.record.name.clone(),
        link: attached.plug.link.clone(),
        up: !record.down,
        settings: record.impairments,
        to: shown(to),
        from: shown(from),
    }
}
