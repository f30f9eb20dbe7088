//! Finding things by what people call them.

use agent_core::find::find;

use super::state::{Container, Network, State};
use agent_core::find::Find;

impl State {
    pub(super) fn network_id(&self, called: &str) -> Result<String, Find> {
        let candidates = self
            .networks
            .values()
            .map(|network| (network.record.id.as_str(), network.record.name.as_str()));
        find(candidates, called)?.ok_or_else(|| Find::NoNetwork(called.to_owned()))
    }

    pub(super) fn network(&self, called: &str) -> Result<&Network, Find> {
        let id = self.network_id(called)?;
        self.networks
            .get(&id)
            .ok_or_else(|| Find::NoNetwork(called.to_owned()))
    }

    pub(super) fn container_id(&self, called: &str) -> Result<String, Find> {
        let candidates = self
            .containers
            .values()
            .map(|container| (container.record.id.as_str(), container.record.name.as_str()));
        find(candidates, called)?.ok_or_else(|| Find::NoContainer(called.to_owned()))
    }

    pub(super) fn container(&self, called: &str) -> Result<&Container, Find> {
        let id = self.container_id(called)?;
        self.containers
            .get(&id)
            .ok_or_else(|| Find::NoContainer(called.to_owned()))
    }
}
