//! What is asked about endpoints: their links, ports, rates.

use std::path::Path;

use super::{Answer, Client, segment};
use crate::{
    EndpointCreate, EndpointDetail, EndpointUpdate, LabelsUpdate, LinkDetail, LinkUpdate,
    PortDetail, PortSettings, RateDetail, RateUpdate,
};

impl Client {
    /// The endpoint's port, and how the switch treats it.
    pub async fn endpoint_port(&self, id: &str) -> Answer<PortDetail> {
        self.fetch(&format!("/endpoints/{}/port", segment(id)))
            .await
    }

    /// Changes how the switch treats it.
    pub async fn update_port(&self, id: &str, settings: &PortSettings) -> Answer<PortDetail> {
        let path = format!("/endpoints/{}/port", segment(id));
        self.amend(&path, settings).await
    }

    /// Changes the labels by which access lists know the endpoint.
    pub async fn update_labels(&self, id: &str, update: &LabelsUpdate) -> Answer<EndpointDetail> {
        let path = format!("/endpoints/{}/labels", segment(id));
        self.amend(&path, update).await
    }

    pub async fn endpoints(&self) -> Answer<Vec<EndpointDetail>> {
        self.fetch("/endpoints").await
    }

    pub async fn create_endpoint(&self, endpoint: &EndpointCreate) -> Answer<EndpointDetail> {
        self.post("/endpoints", endpoint).await
    }

    pub async fn endpoint(&self, id: &str) -> Answer<EndpointDetail> {
        self.fetch(&format!("/endpoints/{}", segment(id))).await
    }

    pub async fn update_endpoint(
        &self,
        id: &str,
        update: &EndpointUpdate,
    ) -> Answer<EndpointDetail> {
        self.amend(&format!("/endpoints/{}", segment(id)), update)
            .await
    }

    /// Takes an endpoint's port up or down.
    pub async fn set_endpoint_up(&self, id: &str, up: bool) -> Answer<EndpointDetail> {
        let state = if up { "up" } else { "down" };
        self.post(&format!("/endpoints/{}/{state}", segment(id)), &())
            .await
    }

    /// The links of all endpoints, with what frames met at them.
    pub async fn links(&self) -> Answer<Vec<LinkDetail>> {
        self.fetch("/links").await
    }

    /// Changes what goes wrong at an endpoint's link.
    pub async fn update_link(&self, id: &str, update: &LinkUpdate) -> Answer<LinkDetail> {
        let path = format!("/endpoints/{}/link", segment(id));
        self.amend(&path, update).await
    }

    /// The rates of all endpoints, with what frames met of them.
    pub async fn rates(&self) -> Answer<Vec<RateDetail>> {
        self.fetch("/rates").await
    }

    /// Changes what an endpoint may get and send.
    pub async fn update_rate(&self, id: &str, update: &RateUpdate) -> Answer<RateDetail> {
        let path = format!("/endpoints/{}/rate", segment(id));
        self.amend(&path, update).await
    }

    /// Detaches the sandbox that `path` leads to, from `network` or from all.
    pub async fn detach_sandbox(&self, path: &Path, network: Option<&str>) -> Answer<()> {
        let network = network.map(|name| format!("&network={}", segment(name)));
        let sandbox = segment(&path.to_string_lossy());
        self.delete(&format!(
            "/endpoints?sandbox={sandbox}{}",
            network.unwrap_or_default()
        ))
        .await
    }

    pub async fn remove_endpoint(&self, id: &str) -> Answer<()> {
        self.delete(&format!("/endpoints/{}", segment(id))).await
    }
}
