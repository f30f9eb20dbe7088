//! Detaching: the same steps whether somebody said so, the sandbox is gone, or attaching failed half-way.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use agent_api::ApiError;
use agent_core::endpoint::Attach;
use agent_core::events::Notice;
use agent_core::record::{EndpointRecord, NetnsId, Owner, endpoint_key};
use agent_host::netlink::LinkEnd;
use switch_core::Mac;
use switch_io::{RemovedPort, set_persistent};

use super::moved::place_of;
use super::plug::{held_name, host_failure};
use super::{Endpoints, Place};
use crate::seats::Attached;

impl Endpoints {
    /// Detaches an endpoint. One that is gone already is no error. Its names and addresses are free when this returns, and its
    /// link is out of sight; what the kernel does about it afterwards, only the next act on its sandbox waits for. It stays
    /// where its record does.
    pub(crate) fn remove(self: &Arc<Self>, id: &str) -> Result<(), ApiError> {
        let Ok((place, attached)) = self.find(id) else {
            return Ok(());
        };
        let network = place.record.name.clone();
        let link = link_end(&attached);
        let (told, freed) = sync_channel(1);
        let endpoints = Arc::clone(self);
        self.ground.runtime.spawn_blocking(move || {
            let _turn = endpoints.turns.take(attached.record.owner.clone());
            let (removed, outcome) = match endpoints.take_out(&place, &attached.record.id) {
                Ok(removed) => (removed, Ok(())),
                Err(error) => (None, Err(error)),
            };
            // Whoever waited may have given up.
            let _ = told.send(outcome);
            // Within the turn: two descriptors hold the link.
            drop(removed);
            drop(attached);
        });
        // It fails where the act did, which the log tells.
        freed.recv().unwrap_or(Ok(()))?;
        if let Some(link) = link {
            link.wait(END_PATIENCE);
        }
        tracing::info!(id, network, "endpoint removed");
        Ok(())
    }

    /// Detaches a sandbox from one network, or from all of them. A path that leads nowhere any more is as good as when it was
    /// used to attach.
    pub(crate) fn remove_of(
        &self,
        sandbox: &Path,
        network: Option<&str>,
        owner_of: impl FnOnce(NetnsId) -> Owner,
    ) -> Result<(), ApiError> {
        let network = network
            .map(|called| self.networks.find(called))
            .transpose()?;
        let Some(owner) = self.owner_at(sandbox, owner_of) else {
            return Ok(());
        };
        for (place, attached) in self.of(&owner) {
            let id = &attached.record.id;
            let asked = network.as_ref();
            if asked.is_none_or(|asked| asked.record.id == place.record.id) {
                self.detach(&place, &owner, id)?;
                tracing::info!(id, network = place.record.name, "endpoint removed");
            }
        }
        Ok(())
    }

    /// Takes the endpoint away; it stays where its record does.
    pub(crate) fn detach(&self, place: &Place, owner: &Owner, id: &str) -> Result<(), Attach> {
        let removed = {
            let _turn = self.turns.take(owner.clone());
            self.take_out(place, id)
        };
        // The kernel takes tens of milliseconds to end a link, and nobody needs to wait for that.
        removed.map(drop)
    }

    /// Takes all endpoints of a sandbox away, whatever is left of them.
    pub(crate) fn detach_all(&self, owner: &Owner) {
        for (place, attached) in self.of(owner) {
            self.let_go(&place, owner, &attached.record.id);
        }
    }

    /// Takes an endpoint away whose sandbox is gone.
    pub(crate) fn let_go(&self, place: &Place, owner: &Owner, id: &str) {
        let removed = {
            let _turn = self.turns.take(owner.clone());
            self.clear(place, id)
        };
        drop(removed);
    }

    /// In the turn of the endpoint's owner: takes record and endpoint away, or neither. The link goes when the result is
    /// dropped.
    pub(super) fn take_out(&self, place: &Place, id: &str) -> Result<Option<RemovedPort>, Attach> {
        let Some(gone) = place.seats.go(id) else {
            return Ok(None);
        };
        let forgotten = self.ground.journal.delete(&endpoint_key(id));
        if let Err(error) = forgotten.wait() {
            place.seats.stay(id);
            return Err(host_failure(&place.record, &gone.record, &error));
        }
        self.tell_attached(place, &gone.record, "disconnect");
        Ok(self.take_apart(place, &gone))
    }

    /// The same, whatever becomes of the record.
    pub(super) fn clear(&self, place: &Place, id: &str) -> Option<RemovedPort> {
        let gone = place.seats.go(id)?;
        if gone.plug.port.is_some() {
            self.tell_attached(place, &gone.record, "disconnect");
        }
        let removed = self.take_apart(place, &gone);
        self.forget(id);
        removed
    }

    pub(super) fn tell_attached(
        &self,
        place: &Place,
        record: &EndpointRecord,
        action: &'static str,
    ) {
        let mut notice = Notice::network(&place.record, action)
            .with("endpoint", &record.name)
            .with("mac", Mac::new(record.mac));
        if let Owner::Container(id) = &record.owner {
            notice = notice.with("container", id);
        }
        let addresses: Vec<_> = record.addresses().iter().map(ToString::to_string).collect();
        if !addresses.is_empty() {
            notice = notice.with("addresses", addresses.join(","));
        }
        self.ground.events.tell(notice);
    }

    fn take_apart(&self, place: &Place, gone: &Attached) -> Option<RemovedPort> {
        let id = gone.record.id.as_str();
        self.note_past(place, &gone.record);
        self.leases.end(id);
        let removed = self.unplug(place, gone);
        if let Some(removed) = &removed {
            self.networks
                .add_gone(&place.record.id, &removed.counters());
        }
        // Before the addresses can be somebody else's.
        let freed = self.publishing.published_by(id);
        self.publishing.unpublish(id);
        self.lead_ports(&gone.record.owner);
        self.hand_on_ports(&gone.record.owner, &freed);
        self.filter.forget_connections(&gone.record.addresses());
        if place.record.shared().is_some() {
            self.sharing.unshare(&gone.record);
        }
        self.free(place, &gone.record);
        self.leave_company(&gone.record);
        removed
    }

    /// Its seat is free.
    pub(super) fn free(&self, place: &Place, record: &EndpointRecord) {
        place.seats.free(&record.id);
        self.networks.lead_to_lan(&place.record.id, false);
        if place.record.shared().is_some() {
            self.networks.follow_needs();
        }
        self.networks.drop_if_left(&record.network);
    }

    /// Removes port and names; the link goes with its last descriptor.
    pub(super) fn unplug(&self, place: &Place, attached: &Attached) -> Option<RemovedPort> {
        let segment = place.segment.as_ref()?;
        segment.edge.remove(&attached.record.id);
        segment
            .bridge
            .unregister_endpoint(Mac::new(attached.record.mac));
        self.networks.dismiss(place, &attached.record);
        let port = attached.plug.port?;
        let removed = self.ground.switch.remove_port(port);
        if let Some(tap) = &attached.plug.tap {
            // Its link may be gone already.
            let _ = set_persistent(tap, false);
        }
        self.ground.held.release(&held_name(&attached.record.id));
        Some(removed)
    }
}

/// Nothing where there is no link.
pub(super) fn link_end(attached: &Attached) -> Option<LinkEnd> {
    let (netns, link) = place_of(attached)?.ok()?;
    LinkEnd::of(&netns, &link).ok()
}

/// The kernel takes about a millisecond, and more while much ends at once.
const END_PATIENCE: Duration = Duration::from_millis(200);
