//! Relays: UDP payloads of other hosts that go through this one, and this host's own that go through another.
//!
//! # Theory of operation
//!
//! What is passed on, to whom and when is told at [`overlay_core::RelayHeader`]'s module. Here a host that is reached over a relay has
//! a [`Place`], which quinn takes for an address. What quinn sends there is put into datagrams of the connection with the relay
//! ([`out`]), and what comes in such datagrams goes to quinn as if it had come from there ([`through`]). All else, from the handshake
//! to the search for the longest packet, is as on any path.
//!
//! A host has connections to those that it shares networks with, and to others that may relay as soon as one of those is not reached
//! ([`seek`]). A connection stays with the relay that it began with. When a relay says that it does not reach a host, or is lost, the host is dialed
//! anew; while it is up over a relay, it is dialed directly now and then ([`direct`]).

mod direct;
mod out;
mod seek;
#[cfg(test)]
mod tests;
mod through;

use std::net::SocketAddr;

use overlay_core::{Capabilities, HostId, RelayCandidate, Way, mtu};
use quinn_proto::ConnectionHandle;

use super::engine::Engine;
use super::link::{Link, Remote};
use super::place::Place;
use super::transport::PAYLOAD_MIN;

impl Engine {
    /// The relay over which a connection goes; `None` for one that goes directly.
    pub(super) fn relay_of(&self, link: &Link) -> Option<&HostId> {
        let (relay, _) = self.relays.hosts_at(link.place()?)?;
        Some(relay)
    }

    /// The way of the connection that counts.
    pub(super) fn way_to(&self, host: &HostId) -> Option<Way> {
        let link = self.links.get(&self.peers.get(host)?.link?)?;
        match link.place() {
            None => Some(Way::Direct),
            Some(_) => self.relay_of(link).cloned().map(Way::Via),
        }
    }

    /// The connection to a host that is up and reached directly.
    fn neighbor(&self, remote: &Remote) -> Option<(ConnectionHandle, &Link)> {
        let handle = remote.link.filter(|_| remote.machine.is_up())?;
        let link = self.links.get(&handle)?;
        link.place().is_none().then_some((handle, link))
    }

    /// The hosts over which `host` can be dialed now.
    pub(super) fn relay_candidates(&self, host: &HostId) -> Vec<RelayCandidate> {
        let others = self.peers.iter().filter(|(relay, _)| *relay != host);
        let candidates = others.filter_map(|(relay, remote)| {
            let (_, link) = self.neighbor(remote)?;
            let is_willing = remote.machine.told().contains(Capabilities::RELAYS);
            let has_room = self.relayed_max(link.connection.current_mtu(), host) >= PAYLOAD_MIN;
            (is_willing && has_room).then(|| RelayCandidate {
                host: relay.clone(),
                is_manager: self.relays.managers.contains(relay),
                rtt: link.connection.rtt(),
            })
        });
        candidates.collect()
    }

    /// Longest UDP payload that is tried on the way to an address.
    pub(super) fn payload_max(&self, address: SocketAddr) -> u16 {
        let hosts = Place::of(address).and_then(|place| self.relays.hosts_at(place));
        hosts.map_or(self.udp_payload_max, |(_, host)| {
            self.relayed_max(self.udp_payload_max, host)
        })
    }

    /// Longest UDP payload to `host` over a relay with which payloads of `udp_payload` bytes are exchanged.
    fn relayed_max(&self, udp_payload: u16, host: &HostId) -> u16 {
        let name_len = self.hello.host.as_str().len().max(host.as_str().len());
        let max = mtu::relayed(udp_payload.into(), name_len);
        u16::try_from(max).unwrap_or(u16::MAX)
    }
}
