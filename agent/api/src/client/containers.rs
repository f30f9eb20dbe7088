//! What is asked about containers.

use hyper::Method;

use super::{Answer, Client, Hold, LogStream, segment};
use crate::{
    Attached, Capture, ContainerCreate, ContainerDetail, ContainerSummary, Created, Exec, Stop,
};

impl Client {
    pub async fn containers(&self) -> Answer<Vec<ContainerSummary>> {
        self.fetch("/containers").await
    }

    pub async fn create_container(&self, container: &ContainerCreate) -> Answer<Created> {
        self.post("/containers", container).await
    }

    /// The same for the caller to start: with the hold the container goes, unless it was started before.
    pub async fn create_held_container(
        &self,
        container: &ContainerCreate,
    ) -> Answer<(Created, Hold)> {
        let path = "/containers?hold=true";
        let body = self.encode(path, container)?;
        let response = self.ask(Method::POST, path, body).await?;
        let mut answer = self.stream(response);
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            match answer.chunk().await? {
                Some(bytes) => line.extend_from_slice(&bytes),
                None => break,
            }
        }
        let created = serde_json::from_slice(&line)
            .map_err(|error| self.unexpected("POST", path, &error.to_string()))?;
        Ok((created, Hold(answer)))
    }

    pub async fn container(&self, name: &str) -> Answer<ContainerDetail> {
        self.fetch(&format!("/containers/{}", segment(name))).await
    }

    /// With `force`, a running container is killed first.
    pub async fn remove_container(&self, name: &str, force: bool) -> Answer<()> {
        let force = if force { "?force=true" } else { "" };
        self.delete(&format!("/containers/{}{force}", segment(name)))
            .await
    }

    pub async fn start_container(&self, name: &str) -> Answer<()> {
        let path = format!("/containers/{}/start", segment(name));
        self.tell(&path, &()).await
    }

    /// Answers when the container has ended.
    pub async fn stop_container(&self, name: &str, stop: &Stop) -> Answer<()> {
        let path = format!("/containers/{}/stop", segment(name));
        self.tell(&path, stop).await
    }

    pub async fn exec(&self, name: &str, exec: &Exec) -> Answer<Attached> {
        let path = format!("/containers/{}/exec", segment(name));
        self.post(&path, exec).await
    }

    /// The container's log, a JSON object a line: the last `tail` lines or all of them, and with `follow` also what
    /// comes, until the container ends.
    pub async fn logs(&self, name: &str, follow: bool, tail: Option<u64>) -> Answer<LogStream> {
        let mut path = format!("/containers/{}/logs?follow={follow}", segment(name));
        if let Some(lines) = tail {
            path.push_str(&format!("&tail={lines}"));
        }
        self.follow(&path).await
    }

    /// The same of a container's links.
    pub async fn capture_container(&self, container: &str, capture: &Capture) -> Answer<LogStream> {
        let path = format!("/containers/{}/capture", segment(container));
        self.capture(path + "?interface=", capture).await
    }
}
