//! Containers on further networks.

use std::sync::Arc;

use agent_api::{ApiError, Connect, Disconnect, EndpointDetail, EndpointSettings};
use agent_core::container::{ConnectContainer, DisconnectContainer, NotRunning, attached_network};
use agent_core::find::Find;
use agent_core::record::Owner;

use super::{Containers, OwnTurn};
use crate::journal::Kept;

impl Containers {
    pub(crate) fn connect(
        self: &Arc<Self>,
        network: &str,
        request: &Connect,
    ) -> Result<EndpointDetail, ApiError> {
        self.past_ends(|| self.connect_once(network, request))
    }

    fn connect_once(
        self: &Arc<Self>,
        network: &str,
        request: &Connect,
    ) -> Result<EndpointDetail, ApiError> {
        let place = self.networks.find(network)?;
        let id = self.find(&request.container)?.record.id;
        self.settle(&id);
        let turn = self.turns.take(id);
        let container = self.get(turn.about());
        let container = container.ok_or_else(|| Find::NoContainer(request.container.clone()))?;
        let record = container.record;
        let Some(pid) = container.init_pid else {
            return Err(ConnectContainer::from(NotRunning::of(&record)).into());
        };
        if attached_network(&record.create.network).is_none() {
            return Err(ConnectContainer::NoSandbox(record.name).into());
        }
        let endpoint = self.attach(&turn, &record, pid, &place, &request.settings)?;
        self.remember(&turn, |connected| {
            connected.push((place.record.id.clone(), request.settings.clone()));
        });
        tracing::info!(
            container = record.name,
            network = place.record.name,
            "connected"
        );
        let attached = place.seats.get(&endpoint);
        let attached = attached.ok_or_else(|| Find::NoNetwork(network.to_owned()))?;
        Ok(attached.detail(&place.record))
    }

    pub(crate) fn disconnect(&self, network: &str, request: &Disconnect) -> Result<(), ApiError> {
        let place = self.networks.find(network)?;
        let record = self.find(&request.container)?.record;
        let turn = self.turns.take(record.id.clone());
        let owner = Owner::Container(record.id);
        let attached = place.seats.attached_of(&owner).into_iter().next();
        let Some(attached) = attached else {
            return Err(DisconnectContainer {
                container: record.name,
                network: place.record.name.clone(),
            }
            .into());
        };
        self.endpoints.detach(&place, &owner, &attached.record.id);
        self.remember(&turn, |connected| {
            connected.retain(|(network, _)| *network != place.record.id);
        });
        tracing::info!(
            container = record.name,
            network = place.record.name,
            "disconnected"
        );
        Ok(())
    }

    /// Keeps in a container's record what it is connected to.
    fn remember(&self, turn: &OwnTurn, change: impl FnOnce(&mut Vec<(String, EndpointSettings)>)) {
        let kept = self.change(turn.about(), |container| {
            change(&mut container.record.connected);
        });
        if let Some(Err(error)) = kept.map(Kept::wait) {
            tracing::warn!(container = turn.about(), %error, "its networks are not on record for its next start");
        }
    }
}
