//! The way back: a host that is up over a relay is dialed directly now and then.

use std::time::Instant;

use bytes::Bytes;
use overlay_core::{HostId, Try, Way};

use crate::quic::engine::Engine;
use crate::quic::link::Remote;

impl Engine {
    /// Another connection counts now, or none does.
    pub(in crate::quic) fn note_way(&mut self, now: Instant, host: &HostId) {
        let time = self.clock.time(now);
        let way = self.way_to(host);
        let is_up = |remote: &Remote| remote.machine.is_up();
        if let Some(way) = way
            .as_ref()
            .filter(|_| self.peers.get(host).is_some_and(is_up))
        {
            self.note_reached(now, host, way);
        }
        let Some(remote) = self.peers.get_mut(host) else {
            return;
        };
        match way.filter(|_| remote.machine.is_up()) {
            Some(way) => {
                match &way {
                    Way::Direct => remote.tries.direct(time),
                    Way::Via(relay) => {
                        tracing::info!(%host, %relay, "reached over a relay");
                        remote.tries.relayed(time);
                    }
                }
                remote.ways.went_up(way);
            }
            None => {
                remote.tries.down(time);
                remote.ways.went_down();
            }
        }
    }

    /// Carries out what is due of a host's tries.
    pub(in crate::quic) fn try_directly(&mut self, now: Instant, host: &HostId) {
        let time = self.clock.time(now);
        while let Some(remote) = self.peers.get_mut(host) {
            match remote.tries.poll(time) {
                Some(Try::Dial) => self.dial_directly(now, host),
                Some(Try::Greet) => self.greet_directly(host),
                Some(Try::GiveUp) => {
                    if let Some(handle) = remote.trial.take() {
                        remote.part_with(handle);
                        self.close(now, handle, "not answered");
                    }
                }
                None => break,
            }
        }
        if let Some(remote) = self.peers.get(host) {
            let due = remote.tries.poll_timeout();
            self.alarm
                .ring_by(due.map(|due| self.clock.instant(due)), now);
        }
    }

    fn dial_directly(&mut self, now: Instant, host: &HostId) {
        let Some(remote) = self.peers.get(host) else {
            return;
        };
        let dialed = self.open(now, host, remote.address);
        if let (Ok(handle), Some(remote)) = (dialed, self.peers.get_mut(host)) {
            remote.trial = Some(handle);
        }
    }

    /// A hello that is lost is said again.
    fn greet_directly(&mut self, host: &HostId) {
        let Some(remote) = self.peers.get(host) else {
            return;
        };
        let hello = Bytes::from(remote.machine.hello());
        if let Some(handle) = remote.trial
            && let Some(link) = self.links.get_mut(&handle)
            && link.connection.datagrams().send(hello, true).is_ok()
        {
            self.touched.push(handle);
        }
    }
}
