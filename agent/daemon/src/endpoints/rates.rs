//! What endpoints may get and send.
//!
//! # Theory of operation
//!
//! Rates are of the record, or else of the network, so they hold from the first frame, whoever made the link again: a start of the
//! container, an agent that takes the place of another. A port has them only while something is limited; without, it is as the workers
//! like it best. Frames that wait when a rate changes wait for the new one; when it goes they leave at once.

use agent_api::{ApiError, RateCounts, RateDetail, RateSettings, RateUpdate};
use agent_core::endpoint::Attach;
use agent_core::record::{EndpointRecord, NetworkRecord};
use switch_core::PortId;
use switch_io::{Layer, LayerKind, RateControl};

use super::plug::host_failure;
use super::settings::changed;
use super::{Endpoints, Place};
use crate::seats::Attached;

impl Endpoints {
    pub(crate) fn rates(&self) -> Vec<RateDetail> {
        let all = self.all();
        let rates = all.iter().map(|(place, attached)| rate(place, attached));
        rates.collect()
    }

    pub(crate) fn rate(&self, id: &str) -> Result<RateDetail, ApiError> {
        let (place, attached) = self.find(id)?;
        Ok(rate(&place, &attached))
    }

    /// Changes the rates, or nothing. With the record as it is then.
    pub(crate) fn update_rate(
        &self,
        id: &str,
        update: &RateUpdate,
    ) -> Result<(RateDetail, EndpointRecord), ApiError> {
        let (_turn, place, attached) = self.in_turn(id)?;
        let before = attached.record.rates;
        let default = place.record.rates();
        let after = before.updated(update, &default).map_err(Attach::from)?;
        let failed =
            |why: &dyn std::fmt::Display| host_failure(&place.record, &attached.record, why);
        self.note(&place, id, |record| record.rates = after)
            .map_err(|error| failed(&error))?;
        if let Err(error) = self.change_rates(&place, &attached, &after.over(&default)) {
            let undone = self.note(&place, id, |record| record.rates = before);
            if let Err(error) = undone {
                tracing::warn!(id, %error, "the rates on record are not those that hold");
            }
            return Err(failed(&error).into());
        }
        tracing::info!(
            endpoint = attached.record.name,
            network = place.record.name,
            "rates changed"
        );
        let attached = changed(&place, id)?;
        Ok((rate(&place, &attached), attached.record.as_ref().clone()))
    }

    /// Gives a port that is new its rates, before anything is read from it.
    pub(super) fn limit(
        &self,
        network: &NetworkRecord,
        port: PortId,
        record: &EndpointRecord,
    ) -> std::io::Result<Option<RateControl>> {
        let (from, to) = record.rates.over(&network.rates()).to_core();
        if from.is_none() && to.is_none() {
            return Ok(None);
        }
        let control = RateControl::new(from, to)?;
        self.dress(port, Layer::Rate(control.clone()))?;
        Ok(Some(control))
    }

    /// Has the endpoint's port, if there is one, keep to `rates`. In its owner's turn.
    fn change_rates(
        &self,
        place: &Place,
        attached: &Attached,
        rates: &RateSettings,
    ) -> std::io::Result<()> {
        let Some(port) = attached.plug.port else {
            return Ok(());
        };
        let id = &attached.record.id;
        let (from, to) = rates.to_core();
        match (&attached.plug.rate, from.is_none() && to.is_none()) {
            (None, true) => {}
            (Some(_), true) => {
                self.ground.switch.undress(port, LayerKind::Rate);
                place.seats.limit(id, None);
            }
            (Some(control), false) => control.set(from, to),
            (None, false) => {
                let control = RateControl::new(from, to)?;
                self.dress(port, Layer::Rate(control.clone()))?;
                place.seats.limit(id, Some(control));
            }
        }
        Ok(())
    }
}

fn rate(place: &Place, attached: &Attached) -> RateDetail {
    let record = &attached.record;
    let counts = attached.plug.rate.as_ref().map(RateControl::counts);
    let (from, to) = counts.unwrap_or_default();
    RateDetail {
        endpoint: record.id.clone(),
        name: record.name.clone(),
        network: place.record.name.clone(),
        link: attached.plug.link.clone(),
        settings: record.rates,
        effective: record.rates.over(&place.record.rates()),
        ingress: shown(to),
        egress: shown(from),
    }
}

const fn shown(counts: switch_io::RateCounts) -> RateCounts {
    let frames = counts.frames;
    RateCounts {
        frames: frames.frames,
        sent: frames.sent,
        sent_bytes: frames.sent_bytes,
        delayed: frames.delayed,
        dropped: frames.dropped,
        refused: counts.refused,
        waiting: counts.waiting,
    }
}
