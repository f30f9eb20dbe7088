//! What a QUIC tunnel tells its owner: of changes, and what the agents of other hosts write.
//!
//! A letter is a datagram: it comes once or not at all, and is lost before a frame is. So whoever writes says it again until there is
//! an answer, or can do without.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

use overlay_core::HostId;
use rustls::pki_types::CertificateDer;
use switch_core::lock;

/// A change in a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuicEvent {
    /// Frames may flow. The certificate is what the host proved to have; whoever sees it expire closes the connection
    /// ([`crate::QuicTunnel::close_peer`]), because QUIC never asks again.
    PeerUp {
        host: HostId,
        address: SocketAddr,
        certificate: Option<CertificateDer<'static>>,
    },
    /// No frames flow: the host is dead, unreachable, or was closed.
    PeerDown { host: HostId },
}

/// Hands events to every subscriber.
#[derive(Clone, Debug, Default)]
pub(super) struct Events(Arc<Mutex<Vec<SyncSender<QuicEvent>>>>);

impl Events {
    pub(super) fn subscribe(&self) -> Receiver<QuicEvent> {
        let (sender, receiver) = sync_channel(BACKLOG);
        let mut subscribers = lock(&self.0);
        subscribers.push(sender);
        receiver
    }

    /// A subscriber that is [`BACKLOG`] events behind misses this one.
    pub(super) fn emit(&self, event: &QuicEvent) {
        let mut subscribers = lock(&self.0);
        subscribers.retain(|subscriber| match subscriber.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                tracing::warn!(?event, "a subscriber of tunnel events does not keep up");
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }
}

/// What another host's agent wrote to this one's. Who it is was proved by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub host: HostId,
    pub body: Vec<u8>,
}

/// Letters that came, for the one who reads them.
#[derive(Debug, Default)]
pub(super) struct Letters(Option<SyncSender<Letter>>);

impl Letters {
    pub(super) fn read(&mut self) -> Receiver<Letter> {
        let (sender, receiver) = sync_channel(LETTERS_MAX);
        self.0 = Some(sender);
        receiver
    }

    /// Of one who reads too slowly, letters are lost.
    pub(super) fn put(&self, host: &HostId, body: Vec<u8>) {
        if let Some(reader) = &self.0 {
            let host = host.clone();
            let _ = reader.try_send(Letter { host, body });
        }
    }
}

const BACKLOG: usize = 4096;
/// Letters that wait for their reader.
const LETTERS_MAX: usize = 256;
