//! Payloads that are passed on here, and those that were passed on to this host.

use std::time::Instant;

use overlay_core::{Capabilities, HostId, Leg, RelayHeader};
use quinn_proto::{ConnectionHandle, SendDatagramError};

use super::Place;
use super::out::wrap;
use crate::quic::engine::Engine;
use crate::quic::link::Link;
use crate::quic::transport::BUFFER_LEN;

/// Why a payload is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The sender is told: it may find another relay.
    Refused,
    OverBudget,
    /// The connection to the receiver has much to send already.
    Full,
    TooLong,
}

impl Engine {
    /// Deals with what a neighbor sent to be passed on, or passed on.
    pub(in crate::quic) fn handle_relayed(&mut self, now: Instant, neighbor: &HostId) {
        let mut received = std::mem::take(&mut self.relays.received);
        for body in received.drain(..) {
            let Some((header, payload)) = RelayHeader::parse(&body) else {
                self.counts.malformed += 1;
                continue;
            };
            match header.leg {
                Leg::ToRelay => self.relay(now, neighbor, header.host, payload),
                Leg::FromRelay => self.take_relayed(now, neighbor, header.host, payload),
                Leg::Refused => self.relay_refused(now, neighbor, header.host),
            }
        }
        self.relays.received = received;
    }

    fn relay(&mut self, now: Instant, from: &HostId, to: &str, payload: &[u8]) {
        let count = match self.pass_to(now, from, to, payload) {
            Ok(handle) => {
                self.touch(handle);
                &mut self.counts.relayed
            }
            Err(Stop::Refused) => {
                self.refuse(from, to);
                &mut self.counts.relay_refused
            }
            Err(Stop::OverBudget) => &mut self.counts.relay_over_budget,
            Err(Stop::Full) => &mut self.counts.relay_full,
            Err(Stop::TooLong) => &mut self.counts.relay_too_long,
        };
        *count += 1;
    }

    /// Only between neighbors, and never back. So what was relayed is not relayed again.
    fn pass_to(
        &mut self,
        now: Instant,
        from: &HostId,
        to: &str,
        payload: &[u8],
    ) -> Result<ConnectionHandle, Stop> {
        let is_willing = self.hello.capabilities.contains(Capabilities::RELAYS);
        if !is_willing || from.as_str() == to {
            return Err(Stop::Refused);
        }
        let (to, remote) = self.peers.get_key_value(to).ok_or(Stop::Refused)?;
        let (handle, _) = self.neighbor(remote).ok_or(Stop::Refused)?;
        if !remote.machine.told().contains(Capabilities::RELAYED) {
            return Err(Stop::Refused);
        }
        let time = self.clock.time(now);
        if !self.relays.budget.take(time, (from, to), payload.len()) {
            return Err(Stop::OverBudget);
        }
        let link = self.links.get_mut(&handle).ok_or(Stop::Refused)?;
        // The other half is this host's own.
        if link.connection.datagrams().send_buffer_space() < BUFFER_LEN / 2 {
            return Err(Stop::Full);
        }
        let header = RelayHeader {
            leg: Leg::FromRelay,
            host: from.as_str(),
        };
        match wrap(link, &mut self.arena, &header, payload) {
            Ok(()) => Ok(handle),
            Err(SendDatagramError::TooLarge) => Err(Stop::TooLong),
            Err(_) => Err(Stop::Full),
        }
    }

    /// An answer is shorter than what it answers, so nobody is flooded by it.
    fn refuse(&mut self, from: &HostId, to: &str) {
        let handle = self.peers.get(from).and_then(|remote| remote.link);
        let link = handle.and_then(|handle| self.links.get_mut(&handle));
        let header = RelayHeader {
            leg: Leg::Refused,
            host: to,
        };
        if let (Some(handle), Some(link)) = (handle, link)
            && wrap(link, &mut self.arena, &header, &[]).is_ok()
        {
            self.touch(handle);
        }
    }

    /// A relay may say what it likes of where a payload is from: the connection's own certificates and keys decide.
    fn take_relayed(&mut self, now: Instant, relay: &HostId, from: &str, payload: &[u8]) {
        let (Some(via), Some(remote)) = (self.peers.get(relay), self.peers.get(from)) else {
            self.counts.malformed += 1;
            return;
        };
        let place = Place {
            relay: via.number,
            host: remote.number,
        };
        self.arena.extend_from_slice(payload);
        let datagram = self.arena.split();
        self.handle_datagram(now, (place.address(), None), None, datagram);
    }

    /// A relay does not reach a host. Of another connection than its own that says nothing.
    fn relay_refused(&mut self, now: Instant, relay: &HostId, host: &str) {
        let (Some(via), Some((host, remote))) =
            (self.peers.get(relay), self.peers.get_key_value(host))
        else {
            return;
        };
        let place = Place {
            relay: via.number,
            host: remote.number,
        };
        let link = remote.link.and_then(|handle| self.links.get(&handle));
        if link.and_then(Link::place) != Some(place) {
            return;
        }
        tracing::debug!(%host, %relay, "the relay does not reach the host");
        if let Some(handle) = remote.link {
            let host = host.clone();
            self.close(now, handle, "not relayed");
            self.part(now, &host, handle);
        }
    }

    pub(in crate::quic) fn touch(&mut self, handle: ConnectionHandle) {
        if self.touched.last() != Some(&handle) {
            self.touched.push(handle);
        }
    }
}
