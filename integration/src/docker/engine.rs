//! The engine's own API, as far as names and garbage need it: HTTP/1 over its unix socket.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Speaks to one engine; holds no connection.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    socket: PathBuf,
}

/// Why the engine did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskEngine {
    #[error("{socket}: {source}", socket = .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("the engine broke off: {0}")]
    BrokeOff(String),
    #[error("the engine does not answer in {} s", ANSWER.as_secs())]
    Silent,
    #[error("the engine answers {path} with {status}")]
    Refused { path: String, status: StatusCode },
    #[error("the engine's answer to {path} is not understood: {reason}")]
    Unexpected { path: String, reason: String },
}

#[derive(Debug, Deserialize)]
pub(super) struct Info {
    #[serde(rename = "ID")]
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EngineNetwork {
    pub(super) id: String,
    pub(super) name: String,
    /// By container; absent in lists.
    #[serde(default, deserialize_with = "or_null")]
    pub(super) containers: BTreeMap<String, Attached>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Attached {
    #[serde(default, rename = "EndpointID")]
    pub(super) endpoint: String,
}

/// From a list, or looked at by itself: lists have no aliases.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EngineContainer {
    pub(super) id: String,
    /// Begins with a slash; absent in lists.
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_null")]
    pub(super) network_settings: NetworkSettings,
    /// Absent in lists.
    #[serde(default, deserialize_with = "or_null")]
    pub(super) config: ContainerConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ContainerConfig {
    #[serde(deserialize_with = "or_null")]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkSettings {
    #[serde(deserialize_with = "or_null")]
    pub(super) networks: BTreeMap<String, Seat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Seat {
    #[serde(rename = "NetworkID")]
    pub(super) network: String,
    /// Empty while the container does not run.
    #[serde(rename = "EndpointID")]
    pub(super) endpoint: String,
    #[serde(rename = "Aliases", deserialize_with = "or_null")]
    pub(super) aliases: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Event {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) action: String,
    pub(super) actor: Actor,
}

#[derive(Debug, Deserialize)]
pub(super) struct Actor {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(default, rename = "Attributes", deserialize_with = "or_null")]
    pub(super) attributes: BTreeMap<String, String>,
}

impl Engine {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) async fn info(&self) -> Result<Info, AskEngine> {
        self.fetch("/info").await
    }

    pub(super) async fn networks(&self) -> Result<Vec<EngineNetwork>, AskEngine> {
        self.fetch("/networks").await
    }

    /// `None` where the engine knows none such any more.
    pub(super) async fn network(&self, id: &str) -> Result<Option<EngineNetwork>, AskEngine> {
        found(self.fetch(&format!("/networks/{id}")).await)
    }

    pub(super) async fn containers(&self) -> Result<Vec<EngineContainer>, AskEngine> {
        self.fetch("/containers/json?all=true").await
    }

    pub(super) async fn container(&self, id: &str) -> Result<Option<EngineContainer>, AskEngine> {
        found(self.fetch(&format!("/containers/{id}/json")).await)
    }

    /// What happens from now on to networks, and to the names of containers.
    pub(super) async fn events(&self) -> Result<Events, AskEngine> {
        let path = format!("/events?filters={EVENTS}");
        let response = timeout(ANSWER, self.ask(&path)).await;
        Ok(Events {
            body: response.map_err(|_| AskEngine::Silent)??.into_body(),
            read: Vec::new(),
        })
    }

    async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskEngine> {
        let whole = async {
            let body = Limited::new(self.ask(path).await?.into_body(), ANSWER_LENGTH_MAX);
            let body = body.collect().await;
            body.map(|body| body.to_bytes())
                .map_err(|error| AskEngine::BrokeOff(error.to_string()))
        };
        let body = timeout(ANSWER, whole)
            .await
            .map_err(|_| AskEngine::Silent)??;
        serde_json::from_slice(&body).map_err(|error| AskEngine::Unexpected {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    async fn ask(&self, path: &str) -> Result<Response<Incoming>, AskEngine> {
        let broke_off = |error: hyper::Error| AskEngine::BrokeOff(error.to_string());
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| AskEngine::Connect {
            socket: self.socket.clone(),
            source,
        })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(broke_off)?;
        // Ends by itself: with the answer's last byte, or when the answer is dropped.
        tokio::spawn(connection);
        let request = Request::get(path)
            .header(header::HOST, "docker")
            .body(Empty::<Bytes>::new())
            .map_err(|error| AskEngine::BrokeOff(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broke_off)?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(AskEngine::Refused {
                path: path.to_owned(),
                status,
            }),
        }
    }
}

/// The engine's events, one after the other.
pub(super) struct Events {
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    /// Waits for the next one. May be given up and asked again.
    pub(super) async fn next(&mut self) -> Result<Event, AskEngine> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| AskEngine::Unexpected {
                    path: "/events".to_owned(),
                    reason: error.to_string(),
                });
            }
            let frame = self.body.frame().await;
            let frame = frame.ok_or_else(|| AskEngine::BrokeOff("its events ended".to_owned()))?;
            let frame = frame.map_err(|error| AskEngine::BrokeOff(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                self.read.extend_from_slice(&data);
            }
            if self.read.len() > EVENT_LENGTH_MAX {
                return Err(AskEngine::BrokeOff("an event has no end".to_owned()));
            }
        }
    }
}

fn found<T>(answer: Result<T, AskEngine>) -> Result<Option<T>, AskEngine> {
    match answer {
        Err(AskEngine::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        }) => Ok(None),
        answer => answer.map(Some),
    }
}

fn or_null<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// `{"type":["network","container"],"event":["create","connect","rename"]}`, for a query.
const EVENTS: &str = "%7B%22type%22%3A%5B%22network%22%2C%22container%22%5D%2C%22event%22%3A%5B%22create%22%2C%22connect%22%2C%22rename%22%5D%7D";
const ANSWER: Duration = Duration::from_secs(20);
/// An engine lists thousands of containers.
const ANSWER_LENGTH_MAX: usize = 64 << 20;
const EVENT_LENGTH_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_answers_are_read_whatever_they_leave_out() {
        let container: EngineContainer = serde_json::from_str(
            r#"{"Id":"c","Name":"/web","Config":{"Labels":{"a":"b"}},"NetworkSettings":{"Networks":{"red":
            {"NetworkID":"n","EndpointID":"e","Aliases":null,"New":1}}}}"#,
        )
        .unwrap();
        assert_eq!(container.network_settings.networks["red"].endpoint, "e");
        assert_eq!(container.config.labels["a"], "b");
        let network: EngineNetwork =
            serde_json::from_str(r#"{"Id":"n","Name":"red","Containers":null}"#).unwrap();
        assert!(network.containers.is_empty());
        let event: Event = serde_json::from_str(
            r#"{"Type":"network","Action":"connect","Actor":{"ID":"n","Attributes":{"container":"c"}}}"#,
        )
        .unwrap();
        assert_eq!(event.actor.attributes["container"], "c");
    }
}
