//! Containers on further networks.

use std::sync::Arc;

use agent_api::{ApiError, Connect, Disconnect, EndpointDetail, EndpointSettings};
use agent_core::container::{ConnectContainer, DisconnectContainer, NotRunning, attached_network};
use agent_core::find::Find;
use agent_core::record::Owner;

use super::create::host_failure;
use super::{Container, Containers, OwnTurn};
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
        let on = (place.record.id.clone(), request.settings.clone());
        if let Err(error) = self.remember(&turn, |connected| connected.push(on)) {
            let owner = Owner::Container(turn.about().clone());
            self.endpoints.let_go(&place, &owner, &endpoint);
            return Err(error);
        }
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
        self.remember(&turn, |connected| {
            connected.retain(|(network, _)| *network != place.record.id);
        })?;
        let detached = self.endpoints.detach(&place, &owner, &attached.record.id);
        if let Err(error) = detached {
            self.put_back(&turn, record.connected);
            return Err(error.into());
        }
        tracing::info!(
            container = record.name,
            network = place.record.name,
            "disconnected"
        );
        Ok(())
    }

    /// Keeps in a container's record what it is connected to, for its next start.
    fn remember(
        &self,
        turn: &OwnTurn,
        change: impl FnOnce(&mut Vec<(String, EndpointSettings)>),
    ) -> Result<(), ApiError> {
        let mut before = None;
        let kept = self.change(turn.about(), |container| {
            before = Some(container.record.clone());
            change(&mut container.record.connected);
        });
        match (before, kept.map(Kept::wait)) {
            (Some(before), Some(Err(error))) => {
                let failure = host_failure(&before, &error);
                self.put_back(turn, before.connected);
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    /// What is asked for on a network, also after its next start.
    pub(crate) fn keep_settings(
        &self,
        id: &str,
        network: &str,
        keep: impl FnOnce(&mut EndpointSettings),
    ) -> Result<(), ApiError> {
        let mut changed = None;
        let kept = self.change(id, |container| {
            keep(container.record.settings_on(network));
            changed = Some(container.record.clone());
        });
        match (changed, kept.map(Kept::wait)) {
            (Some(record), Some(Err(error))) => Err(host_failure(&record, &error)),
            _ => Ok(()),
        }
    }

    /// After a failure: whether this gets to the disk is all one with what is there.
    fn put_back(&self, turn: &OwnTurn, connected: Vec<(String, EndpointSettings)>) {
        let put = |container: &mut Container| container.record.connected = connected;
        drop(self.change(turn.about(), put));
    }
}
