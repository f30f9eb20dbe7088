//! Ports that are down: their endpoints are attached, but plugged out.
//!
//! The namespace sees a link without a carrier, and the bridge has no such port: nothing is learned there, flooded there or
//! taken from there. Addresses, names and routes stay, and so does the state, over restarts of the agent.

use agent_api::{ApiError, EndpointDetail};
use agent_core::endpoint::Attach;
use agent_core::events::Notice;
use agent_core::record::EndpointRecord;
use switch_core::Mac;
use switch_io::set_carrier;

use super::plug::host_failure;
use super::settings::changed;
use super::{Endpoints, Place};
use crate::networks::Segment;
use crate::seats::{Attached, Plug};

impl Endpoints {
    /// Takes an endpoint's port up or down. One that is so already is no error.
    pub(crate) fn set_up(&self, id: &str, up: bool) -> Result<EndpointDetail, ApiError> {
        let (_turn, place, attached) = self.in_turn(id)?;
        if up && place.record.is_cut_off() {
            return Err(Attach::CutOff(place.record.name.clone()).into());
        }
        let failed =
            |why: &dyn std::fmt::Display| host_failure(&place.record, &attached.record, why);
        if let Err(error) = self.note(&place, id, |record| record.down = !up) {
            let (before, journal) = (attached.record.down, &self.ground.journal);
            let undo = |record: &mut EndpointRecord| record.down = before;
            drop(place.seats.change(id, journal, undo));
            return Err(failed(&error).into());
        }
        let set = if up {
            self.reopen(&place, &attached);
            push(&place, &attached)
        } else {
            pull(&place, &attached)
        };
        set.map_err(|error| failed(&error))?;
        self.networks.settle_stations(&place.record.id);
        let action = if up { "up" } else { "down" };
        let told = Notice::endpoint(&place.record, &attached.record, action);
        self.ground.events.tell(told);
        let attached = changed(&place, id)?;
        Ok(attached.detail(&place.record))
    }

    /// A port that sent a BPDU is open again when somebody says so.
    fn reopen(&self, place: &Place, attached: &Attached) {
        if let (Some(segment), Some(port)) = (&place.segment, attached.plug.port) {
            self.ground.switch.reopen_port(&segment.bridge, port);
        }
    }

    /// Takes an endpoint's port down, for longer than this agent lives. In its owner's turn.
    pub(super) fn take_down(&self, place: &Place, id: &str) -> std::io::Result<()> {
        if let Err(error) = self.note(place, id, |record| record.down = true) {
            tracing::warn!(id, %error, "a port that is down would be up after a restart");
        }
        match place.seats.get(id) {
            Some(attached) => pull(place, &attached),
            None => Ok(()),
        }
    }
}

impl Plug {
    /// Takes the port down.
    pub(super) fn pull(&self, segment: &Segment) -> std::io::Result<()> {
        if let Some(tap) = &self.tap {
            set_carrier(tap, false)?;
        }
        if let Some(port) = self.port {
            segment.bridge.remove_port(port);
        }
        Ok(())
    }
}

pub(super) fn pull(place: &Place, attached: &Attached) -> std::io::Result<()> {
    match &place.segment {
        Some(segment) => attached.plug.pull(segment),
        None => Ok(()),
    }
}

/// Takes the endpoint's port up.
pub(super) fn push(place: &Place, attached: &Attached) -> std::io::Result<()> {
    if let (Some(segment), Some(port)) = (&place.segment, attached.plug.port) {
        let (bridge, record) = (&segment.bridge, &attached.record);
        bridge.add_port(port, place.record.endpoint_port_config(record));
        bridge.register_endpoint(port, Mac::new(record.mac), &record.addresses());
    }
    match &attached.plug.tap {
        Some(tap) => set_carrier(tap, true),
        None => Ok(()),
    }
}
