//! Endpoints that are on record, at the start of the agent.

use std::path::Path;

use agent_core::endpoint::Attach;
use agent_core::name::short;
use agent_core::record::{EndpointRecord, Moved, NetnsId, Owner, endpoint_key};
use agent_host::{Netns, netns_id};
use switch_io::FramePort;

use super::hand_over::own_namespace;
use super::moved::{FollowLink, find};
use super::plug::{bury_link, host_failure, left_tap};
use super::{Endpoints, Place, open_sandbox};
use crate::seats::Plug;

impl Endpoints {
    /// Makes the link again in the sandbox at `path`. Its record goes where that fails.
    pub(crate) fn plug_in_again(&self, record: &EndpointRecord, path: &Path) {
        let netns = match record.owner {
            Owner::Engine(_) => own_namespace(),
            Owner::Container(_) | Owner::Sandbox(_) => open_sandbox(path),
        };
        let Ok(netns) = netns else {
            return self.forget(&record.id);
        };
        if self.settle_adopted(record, netns.id()) {
            return;
        }
        let Some(place) = self.take_back(record) else {
            return self.forget(&record.id);
        };
        if let Err(error) = self.plug_again(&place, record, (&netns, netns.id())) {
            self.ground.warn(format!(
                "endpoint {:?} does not come back: {error}",
                record.name
            ));
            self.give_up(&place, record);
        }
    }

    /// Makes the link again where somebody had moved it out of its sandbox at `path`, or nowhere: then the endpoint keeps its
    /// addresses.
    pub(crate) fn follow_link(&self, record: &EndpointRecord, moved: &Moved, path: &Path) {
        let Ok(sandbox) = netns_id(path) else {
            return self.forget(&record.id);
        };
        if self.settle_adopted(record, sandbox) {
            return;
        }
        let Some(place) = self.take_back(record) else {
            return self.forget(&record.id);
        };
        let there = record.at(moved);
        let plugged = match find(moved) {
            Ok(netns) => self
                .plug_again(&place, &there, (&netns, sandbox))
                .map_err(FollowLink::from),
            Err(_) if self.plug_stray(&place, &there, sandbox) => Ok(()),
            Err(why) => Err(why),
        };
        if let Err(why) = plugged {
            if matches!(record.owner, Owner::Engine(_)) {
                tracing::info!(endpoint = record.name, %why, "an engine's container has gone");
                return self.give_up(&place, record);
            }
            self.ground.warn(format!(
                "endpoint {:?} on network {:?} has no link, because it was moved out of its sandbox and {why}; detach it and attach it again",
                record.name, place.record.name
            ));
            self.unplug_half(&place, &record.id);
            let nowhere = Plug {
                port: None,
                link: moved.link.clone(),
                tap: None,
                sandbox: Some(sandbox),
                ..Plug::default()
            };
            place.seats.plug(&record.id, nowhere);
            drop(place.seats.seat(&record.id, &self.ground.journal));
        }
    }

    /// An endpoint whose sandbox or network is gone.
    pub(crate) fn forget(&self, id: &str) {
        let network = self.networks.roll().network_of(id);
        if let Some(place) = network.and_then(|network| self.networks.place(&network))
            && let Some(adopted) = place.seats.coming(id)
        {
            return self.give_up(&place, &adopted.record);
        }
        let kept = self.ground.journal.forget(&endpoint_key(id));
        if let Err(error) = kept.wait() {
            tracing::warn!(endpoint = short(id), %error, "an endpoint's record stays until the next start");
        }
    }

    /// The network, where the endpoint has its addresses again.
    pub(super) fn take_back(&self, record: &EndpointRecord) -> Option<Place> {
        let place = self.networks.place(&record.network)?;
        match place.seats.take_back(record) {
            Ok(()) => Some(place),
            Err(error) => {
                tracing::warn!(endpoint = record.name, %error, "an endpoint does not come back");
                None
            }
        }
    }

    fn plug_again(
        &self,
        place: &Place,
        record: &EndpointRecord,
        (netns, sandbox): (&Netns, NetnsId),
    ) -> Result<(), Attach> {
        if let Some(left) = left_tap(&place.record, record, netns) {
            return self.plug_left(place, record, left, sandbox);
        }
        if self.plug_stray(place, record, sandbox) {
            return Ok(());
        }
        bury_link(record, netns);
        self.plug(place, record, netns, sandbox)?;
        drop(place.seats.seat(&record.id, &self.ground.journal));
        Ok(())
    }

    /// Seats an endpoint on the link that an agent before left.
    pub(super) fn plug_left(
        &self,
        place: &Place,
        record: &EndpointRecord,
        (tap, link): (Box<dyn FramePort>, String),
        sandbox: NetnsId,
    ) -> Result<(), Attach> {
        let mut plug = self.occupy(place, record, tap, Some(sandbox))?;
        plug.link = link;
        self.keep(place, record, &plug)
            .map_err(|error| host_failure(&place.record, record, &error))?;
        drop(place.seats.seat(&record.id, &self.ground.journal));
        Ok(())
    }

    fn give_up(&self, place: &Place, record: &EndpointRecord) {
        self.unplug_half(place, &record.id);
        if let Ok(own) = own_namespace() {
            bury_link(record, &own);
        }
        self.free(place, record);
        self.forget(&record.id);
    }

    /// What plugging left behind when it failed.
    pub(super) fn unplug_half(&self, place: &Place, id: &str) {
        if let Some(half) = place.seats.coming(id) {
            drop(self.unplug(place, &half));
        }
    }
}
