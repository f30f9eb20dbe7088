//! Publishing the ports of a container: the agent does it, once the engine says which endpoint leads outside.

use agent_api::{EndpointUpdate, ErrorKind, PortMapping};
use serde_json::Value;

use super::plugin::{Plugin, nothing};
use super::ports::{Wished, wished};
use super::wire::{Id, OfEndpoint, Refusal, read};

impl Plugin {
    pub(super) async fn publish(&self, body: &[u8]) -> Result<Value, Refusal> {
        let call: OfEndpoint = read(body)?;
        let page = self.page(&call.network).await?;
        let wished = wished(&call.options, page.host_ip)?;
        if wished.is_empty() {
            return Ok(nothing());
        }
        let published = self.publish_all(&call.endpoint, wished).await;
        if published.is_err() {
            let _ = self.set(&call.endpoint, Vec::new()).await;
        }
        published.map(|()| nothing())
    }

    pub(super) async fn withdraw(&self, body: &[u8]) -> Result<Value, Refusal> {
        let call: OfEndpoint = read(body)?;
        match self.set(&call.endpoint, Vec::new()).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(nothing()),
        }
    }

    async fn publish_all(&self, endpoint: &Id, wished: Vec<Wished>) -> Result<(), Refusal> {
        let (fixed, choices): (Vec<_>, Vec<_>) = wished
            .into_iter()
            .partition(|one| one.host_ports.start() == one.host_ports.end());
        let mut mappings: Vec<_> = fixed.into_iter().map(|one| one.mapping).collect();
        if !mappings.is_empty() {
            self.set(endpoint, mappings.clone()).await?;
        }
        for choice in choices {
            let mapping = self.publish_one_of(endpoint, &mappings, &choice).await?;
            mappings.push(mapping);
        }
        Ok(())
    }

    /// Beside what is published already, at the first host port of the choice that is free.
    async fn publish_one_of(
        &self,
        endpoint: &Id,
        published: &[PortMapping],
        choice: &Wished,
    ) -> Result<PortMapping, Refusal> {
        let mut last = None;
        for host_port in choice.host_ports.clone().take(ATTEMPTS_MAX) {
            let mapping = PortMapping {
                host_port,
                ..choice.mapping.clone()
            };
            let all = published.iter().chain([&mapping]).cloned().collect();
            match self.set(endpoint, all).await {
                Ok(()) => return Ok(mapping),
                Err(error) if error.kind() == Some(ErrorKind::Conflict) => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let none = || Refusal::new("a range of ports has at least one");
        Err(last.map_or_else(none, Refusal::from))
    }

    async fn set(
        &self,
        endpoint: &Id,
        publish: Vec<PortMapping>,
    ) -> Result<(), agent_api::ClientError> {
        let update = EndpointUpdate {
            publish: Some(publish),
            ..EndpointUpdate::default()
        };
        let updated = self
            .client
            .update_endpoint(endpoint.as_str(), &update)
            .await;
        updated.map(drop)
    }
}

/// Of the host ports of one choice.
const ATTEMPTS_MAX: usize = 256;
