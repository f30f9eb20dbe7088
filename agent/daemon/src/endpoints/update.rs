//! What may be different of an endpoint that is attached: its names, its ports.

use agent_api::{ApiError, EndpointDetail, EndpointUpdate};
use agent_core::endpoint::Attach;
use agent_core::record::{EndpointRecord, Owner};

use super::plug::{edge_host, host_failure};
use super::{Endpoints, Place};
use crate::seats::Attached;

impl Endpoints {
    /// Changes what the update names, or nothing.
    pub(crate) fn update(
        &self,
        id: &str,
        update: &EndpointUpdate,
    ) -> Result<EndpointDetail, ApiError> {
        let owner = self.find(id)?.1.record.owner.clone();
        if matches!(owner, Owner::Container(_)) {
            return Err(Attach::OfContainer.into());
        }
        let _turn = self.turns.take(owner);
        // It may have gone before the turn came.
        let (place, attached) = self.find(id)?;
        let before = &attached.record;
        let after = self.change_ports(before, updated(before, update))?;
        if let Err(error) = self.rename(&place, &attached, &after) {
            self.change_ports(&after, before.as_ref().clone())?;
            return Err(error.into());
        }
        let (place, attached) = self.find(id)?;
        Ok(attached.detail(&place.record))
    }

    /// Publishes what `after` asks for in place of what was published before; that stays where it fails. With the ports that
    /// were picked.
    fn change_ports(
        &self,
        before: &EndpointRecord,
        mut after: EndpointRecord,
    ) -> Result<EndpointRecord, Attach> {
        if before.publish == after.publish {
            return Ok(after);
        }
        self.publishing.unpublish(&before.id);
        match self.take_ports(&after) {
            Ok(taken) => {
                after.publish = taken;
                Ok(after)
            }
            Err(error) => {
                self.resume(before);
                Err(error)
            }
        }
    }

    fn rename(
        &self,
        place: &Place,
        attached: &Attached,
        after: &EndpointRecord,
    ) -> Result<(), Attach> {
        let before = &*attached.record;
        if before == after {
            return Ok(());
        }
        let network = &place.record;
        let failed = |why: &dyn std::fmt::Display| host_failure(network, after, why);
        let journal = &self.ground.journal;
        let kept = place.seats.rename(network, after, journal)?;
        if let Err(error) = kept.wait() {
            let undo = |record: &mut EndpointRecord| record.clone_from(before);
            drop(place.seats.change(&after.id, journal, undo));
            return Err(failed(&error));
        }
        if let (Some(segment), Some(port)) = (&place.segment, attached.plug.port) {
            let told = segment
                .edge
                .insert(&after.id, edge_host(network, after, port));
            told.map_err(|error| failed(&error))?;
        }
        if network.shared().is_some() {
            self.sharing.share(after);
        }
        self.networks.settle_acl(&network.id);
        tracing::info!(
            endpoint = before.name,
            name = after.name,
            network = network.name,
            "endpoint changed"
        );
        Ok(())
    }
}

fn updated(record: &EndpointRecord, update: &EndpointUpdate) -> EndpointRecord {
    let EndpointUpdate {
        name,
        aliases,
        publish,
    } = update.clone();
    EndpointRecord {
        name: name.unwrap_or_else(|| record.name.clone()),
        aliases: aliases.unwrap_or_else(|| record.aliases.clone()),
        publish: publish.unwrap_or_else(|| record.publish.clone()),
        ..record.clone()
    }
}
