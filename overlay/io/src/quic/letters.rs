//! Writing to the agent of another host.

use std::time::Instant;

use bytes::Bytes;
use overlay_core::HostId;

use super::engine::Engine;

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
