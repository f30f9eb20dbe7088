//! What a peer asks for, and what is known of it.

use super::Capabilities;
use crate::{Epoch, HostId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// This host does not need the connection. The remote may dial.
    Idle,
    /// Until it is time to dial, or the remote dials.
    Waiting,
    Dialing,
    /// Connected by one that stands by.
    Standby,
    /// Connected, without the remote's hello.
    Greeting,
    Up,
    /// Its certificate is void.
    Revoked,
}

/// Why a connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    #[error("the certificate names {0:?}")]
    WrongIdentity(String),
    #[error("the hello names {0}")]
    WrongHost(HostId),
    #[error("the remote speaks versions {} to {}", .0.0, .0.1)]
    NoCommonVersion((u8, u8)),
    #[error("nobody answered in time")]
    NoAnswer,
    #[error("no hello came in time")]
    NoHello,
    #[error("nothing came for too long")]
    Silent,
    #[error("the certificate was revoked or has expired")]
    Revoked,
    #[error("nobody needs it any more")]
    NotNeeded,
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// Open a connection; then [`Peer::handle_connected`] or [`Peer::handle_disconnected`].
    Dial,
    /// Close the connection, or stop opening one. Nothing has to be reported back.
    Close(Close),
    /// Frames may flow.
    Up {
        version: u8,
        capabilities: Capabilities,
        epoch: Epoch,
    },
    /// No frames may flow any more.
    Down,
    /// What the remote's agent wrote to this host's.
    Letter(Vec<u8>),
}

/// Events since the start. Every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    pub dials: u64,
    pub ups: u64,
    pub downs: u64,
    /// Connections closed because of who or what the remote is.
    pub refused: u64,
    /// Connections closed because nothing came.
    pub silent: u64,
    /// Messages that could not be read, or came where they make no sense.
    pub malformed: u64,
}
