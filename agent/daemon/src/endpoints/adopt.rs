//! Links that an agent before left to the guardian: its successor takes them over as they are.
//!
//! # Theory of operation
//!
//! A container keeps its link, with all that was set on it, over the agent's death. The next agent takes the descriptor over by the
//! endpoint's record alone, without a look into the sandbox, so that frames flow again at once. The look comes later
//! ([`super::restore`]): where the sandbox or the link has gone meanwhile, what was taken over goes as well.

use std::os::fd::OwnedFd;

use agent_core::record::{EndpointRecord, NetnsId, Owner};
use switch_io::{set_persistent, take_over, whereabouts};

use super::plug::{held_name, plug_in};
use super::{Endpoints, Place};

impl Endpoints {
    /// Takes over the link that an agent before held. Where that fails, the link is made again later.
    pub(crate) fn adopt(&self, record: &EndpointRecord) {
        let Some(tap) = self.ground.held.take(&held_name(&record.id)) else {
            return;
        };
        // One that was not made to its end is made again.
        let whole = record.link.as_ref().and_then(|_| whereabouts(&tap).ok());
        let Some((_, link)) = whole else {
            return self.discard(&record.id, &tap);
        };
        let Some(place) = self.take_back(record) else {
            return self.discard(&record.id, &tap);
        };
        if let Err(error) = self.take_link_over(&place, record, tap, link) {
            tracing::warn!(endpoint = record.name, %error, "a link is made again");
            self.unplug_half(&place, &record.id);
            place.seats.unreserve(record);
        }
    }

    fn take_link_over(
        &self,
        place: &Place,
        record: &EndpointRecord,
        tap: OwnedFd,
        link: String,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let port = take_over(tap)?;
        let mut plug = self.occupy(place, record, port, sandbox_on_record(record))?;
        plug.link = link;
        Ok(plug_in(place, record, &plug)?)
    }

    /// Whether the endpoint's link was taken over and is there; it is seated then, in `sandbox`.
    pub(super) fn settle_adopted(&self, record: &EndpointRecord, sandbox: NetnsId) -> bool {
        let Some(place) = self.networks.place(&record.network) else {
            return false;
        };
        let Some(adopted) = place.seats.coming(&record.id) else {
            return false;
        };
        let is_there = adopted
            .plug
            .tap
            .as_ref()
            .is_some_and(|tap| whereabouts(tap).is_ok());
        if !is_there {
            self.unplug_half(&place, &record.id);
            place.seats.unreserve(record);
            return false;
        }
        let mut plug = adopted.plug;
        plug.sandbox = Some(sandbox);
        place.seats.plug(&record.id, plug);
        drop(place.seats.seat(&record.id, &self.ground.journal));
        true
    }

    /// Links that no record names any more go, at the end of the start.
    pub(crate) fn let_go_of_other_links(&self) {
        for (name, tap) in self.ground.held.take_other_links() {
            // Its link may be gone already.
            let _ = set_persistent(&tap, false);
            self.ground.held.release(&name);
        }
    }

    fn discard(&self, id: &str, tap: &OwnedFd) {
        // Its link may be gone already.
        let _ = set_persistent(tap, false);
        self.ground.held.release(&held_name(id));
    }
}

/// As far as the record knows it; a container's is found with its process.
fn sandbox_on_record(record: &EndpointRecord) -> Option<NetnsId> {
    match record.owner {
        Owner::Sandbox(sandbox) => Some(sandbox),
        Owner::Container(_) | Owner::Engine(_) => None,
    }
}
