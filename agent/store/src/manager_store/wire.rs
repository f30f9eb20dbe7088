//! What a store and its far end say to each other.
//!
//! A message is a length (4 bytes, big endian) and that much JSON. The asking side numbers its calls; answers may come in any
//! order. A watch is a call too: its answer says that it has begun, and every event bears the call's number from then on.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Change, Entry, LeaseId, StoreError, WatchEvent};

/// From the side that asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub number: u64,
    pub call: Call,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Nothing is wanted but an answer.
    Ping,
    Get(String),
    List(String),
    Transact(Vec<Change>),
    Watch(String),
    /// The number of the watch that nobody follows any more.
    Unwatch(u64),
    /// The time to live in milliseconds.
    Grant(u64),
    KeepAlive(LeaseId),
    EndLease(LeaseId),
}

/// From the side that has the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Answer { number: u64, answer: Answer },
    Event { number: u64, event: WatchEvent },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    Entry(Option<Entry>),
    Entries(Vec<Entry>),
    Revision(u64),
    Lease(LeaseId),
    Failed(Failure),
}

/// A [`StoreError`], as far as the other side can act on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    Exists(String),
    Changed(String),
    Missing(String),
    LeaseGone,
    Denied { key: String, why: String },
    Unreachable(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Exists { key } => Self::Exists(key),
            StoreError::Changed { key } => Self::Changed(key),
            StoreError::Missing { key } => Self::Missing(key),
            StoreError::LeaseGone => Self::LeaseGone,
            StoreError::Denied { key, why } => Self::Denied { key, why },
            error @ (StoreError::Value { .. }
            | StoreError::Damaged { .. }
            | StoreError::Storage { .. }
            | StoreError::Unreachable { .. }) => Self::Unreachable(error.to_string()),
        }
    }
}

impl Failure {
    /// The same error here; `far_end` names who said so.
    pub(super) fn into_error(self, far_end: &str) -> StoreError {
        match self {
            Self::Exists(key) => StoreError::Exists { key },
            Self::Changed(key) => StoreError::Changed { key },
            Self::Missing(key) => StoreError::Missing { key },
            Self::LeaseGone => StoreError::LeaseGone,
            Self::Denied { key, why } => StoreError::Denied { key, why },
            Self::Unreachable(reason) => StoreError::Unreachable {
                endpoints: far_end.to_owned(),
                reason,
            },
        }
    }
}

/// Writes a message.
pub async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&body).await?;
    stream.flush().await
}

/// Reads a message of at most `limit` bytes. Not to be cancelled: what was read of it is lost.
pub async fn receive<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<T> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > limit {
        return Err(io::Error::other("the message is too long"));
    }
    // What was announced may never come: memory is taken as it does.
    let mut body = Vec::new();
    let mut rest = stream.take(length as u64);
    rest.read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    decode(&body).map_err(io::Error::other)
}

/// A message from its JSON.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeMessage> {
    serde_json::from_slice(body).map_err(|error| DecodeMessage {
        byte: error.column(),
    })
}

/// The other side speaks otherwise. serde's words may repeat a secret; the place does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not understood at byte {byte}")]
pub struct DecodeMessage {
    pub byte: usize,
}
