//! Letters: what the agent of one host writes to that of another, over the connection that frames take.
//!
//! One is a datagram: it comes once or not at all, and is lost before a frame is. So whoever writes says it again until there is
//! an answer, or can do without.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use bytes::Bytes;
use overlay_core::HostId;

use super::engine::Engine;

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
        let (sender, receiver) = sync_channel(BACKLOG);
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

impl Engine {
    /// Whether the letter is on its way.
    pub(super) fn send_letter(&mut self, now: Instant, host: &HostId, body: &[u8]) -> bool {
        let Some(remote) = self.peers.get(host) else {
            return false;
        };
        let (Some(datagram), Some(handle)) = (remote.machine.letter(body), remote.link) else {
            return false;
        };
        let Some(link) = self.links.get_mut(&handle) else {
            return false;
        };
        let sent = link
            .connection
            .datagrams()
            .send(Bytes::from(datagram), false);
        if sent.is_err() {
            return false;
        }
        self.transmit(now, handle);
        true
    }
}

/// Letters that wait for their reader.
const BACKLOG: usize = 256;
