//! Networks that are called otherwise from now on.

use std::sync::Arc;

use agent_api::{ApiError, NetworkSummary, NetworkUpdate};
use agent_core::events::Notice;
use agent_core::name::check_name;
use agent_core::network::{RenameNetwork, is_predefined};
use agent_core::record::{NetworkRecord, network_key};

use super::view::summary;
use super::{Networks, Place};
use crate::locks::lock;

impl Networks {
    /// Changes what the update names. Nobody may be on the network, since endpoints and their resolvers know it by its name.
    pub(crate) fn update(
        &self,
        called: &str,
        update: NetworkUpdate,
    ) -> Result<NetworkSummary, ApiError> {
        let id = self.find(called)?.record.id.clone();
        let _turn = self.turns.take(id);
        // It may have gone before the turn came.
        let place = self.find(called)?;
        match update.name {
            Some(name) if name != place.record.name => {
                let record = self.rename(&place, name)?;
                Ok(summary(&record))
            }
            _ => Ok(summary(&place.record)),
        }
    }

    fn rename(&self, place: &Place, name: String) -> Result<Arc<NetworkRecord>, RenameNetwork> {
        let before = place.record.name.clone();
        check_name(&name)?;
        if is_predefined(&before) {
            return Err(RenameNetwork::Predefined(before));
        }
        if place.record.shared().is_some() {
            return Err(RenameNetwork::Shared(before));
        }
        if let Err(users) = place.seats.close() {
            return Err(RenameNetwork::InUse {
                name: before,
                users: users.to_string(),
            });
        }
        let renamed = self.put_renamed(place, name);
        if let (Ok(record), Some(segment)) = (&renamed, &place.segment) {
            segment.edge.rename(&record.name);
            self.keep_names(&record.id);
            self.tell(Notice::network(record, "update").with("before", &before));
            tracing::info!(network = record.name, before, "network renamed");
        }
        place.seats.reopen();
        renamed
    }

    fn put_renamed(
        &self,
        place: &Place,
        name: String,
    ) -> Result<Arc<NetworkRecord>, RenameNetwork> {
        let before = &place.record;
        let record = Arc::new(NetworkRecord {
            name,
            ..(**before).clone()
        });
        {
            let mut table = lock(&self.table);
            if table.has_name(&record.name) {
                return Err(RenameNetwork::Taken(record.name.clone()));
            }
            if let Some(network) = table.networks.get_mut(&record.id) {
                network.record = Arc::clone(&record);
            }
        }
        let kept = self.ground.journal.put(&network_key(&record.id), &*record);
        if let Err(error) = kept.wait() {
            self.change(&record.id, |network| network.record = Arc::clone(before));
            return Err(RenameNetwork::Host {
                name: before.name.clone(),
                why: error.to_string(),
            });
        }
        self.filter.want_network(&record);
        Ok(record)
    }
}
