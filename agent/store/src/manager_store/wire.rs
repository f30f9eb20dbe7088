//! What a store and its far end say to each other.
//!
//! A message is a length (4 bytes, big endian) and that much JSON. The asking side numbers its calls; answers may come in any
//! order. A watch is a call too: its answer says that it has begun, and every event bears the call's number from then on.

use std::io::{self, Write};

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
    let mut bytes = Vec::new();
    append(&mut bytes, message)?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Adds a message to what is to be written.
pub(super) fn append(bytes: &mut Vec<u8>, message: &impl Serialize) -> io::Result<()> {
    append_body(bytes, |bytes| {
        serde_json::to_writer(bytes, message).map_err(io::Error::other)
    })
}

/// The same of [`Said::Event`], by the event's JSON.
pub(super) fn append_event(bytes: &mut Vec<u8>, number: u64, event: &str) -> io::Result<()> {
    append_body(bytes, |bytes| {
        write!(
            bytes,
            r#"{{"event":{{"number":{number},"event":{event}}}}}"#
        )
    })
}

fn append_body(
    bytes: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let start = bytes.len();
    bytes.extend([0; LENGTH_LEN]);
    write(bytes)?;
    let body = start + LENGTH_LEN;
    let length = u32::try_from(bytes.len() - body).map_err(io::Error::other)?;
    bytes[start..body].copy_from_slice(&length.to_be_bytes());
    Ok(())
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

const LENGTH_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watch::Told;

    #[test]
    fn an_event_is_the_same_message_whoever_made_its_json() {
        let put = WatchEvent::Put(Entry {
            key: "a/\"1\"".to_owned(),
            value: json!({"b": [1, null]}),
            revision: u64::MAX,
        });
        let deleted = WatchEvent::Deleted {
            key: "a".to_owned(),
            revision: 7,
        };
        for event in [put, deleted, WatchEvent::Lagged] {
            let (mut whole, mut by_json) = (Vec::new(), Vec::new());
            let said = Said::Event {
                number: 9,
                event: event.clone(),
            };
            append(&mut whole, &said).unwrap();
            append_event(&mut by_json, 9, Told::from(event).json()).unwrap();
            assert_eq!(whole, by_json);
        }
    }

    #[tokio::test]
    async fn messages_that_were_written_together_are_read_one_by_one() {
        let mut bytes = Vec::new();
        for number in [1, 2] {
            append(&mut bytes, &json!({"number": number})).unwrap();
        }
        let mut stream = &*bytes;
        for number in [1, 2] {
            let read: serde_json::Value = receive(&mut stream, 64).await.unwrap();
            assert_eq!(read, json!({"number": number}));
        }
    }
}
