//! What is known of peers, for people.

use std::net::SocketAddr;
use std::time::Duration;

use overlay_core::{HostId, PeerCounts, ReassembleCounts};

use super::engine::Engine;

/// What is known of a host that a connection is kept to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// On the underlay.
    pub address: SocketAddr,
    /// The host over which this one is reached, if it is not reached directly.
    pub relay: Option<HostId>,
    /// Whether frames may flow.
    pub is_up: bool,
    /// Whether this host needs the connection.
    pub is_needed: bool,
    pub path: Option<PathView>,
    pub counts: PeerCounts,
    pub reassembly: ReassembleCounts,
}

/// What a connection knows of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    /// There and back.
    pub rtt: Duration,
    /// Longest UDP payload that is sent, in bytes.
    pub udp_payload: u16,
    pub sent_packets: u64,
    pub lost_packets: u64,
}

impl Engine {
    pub(super) fn peer_counts(&self, host: &HostId) -> Option<(PeerCounts, ReassembleCounts)> {
        let remote = self.peers.get(host)?;
        let link = remote.link.and_then(|link| self.links.get(&link));
        let reassembly = link.map(|link| link.reassembler.counts());
        Some((remote.machine.counts(), reassembly.unwrap_or_default()))
    }

    pub(super) fn peer_view(&self, host: &HostId) -> Option<PeerView> {
        let remote = self.peers.get(host)?;
        let link = remote.link.and_then(|link| self.links.get(&link));
        let address = link.map_or(remote.address, |link| self.address_of(remote, link));
        let relay = link.and_then(|link| self.relay_of(link));
        let path = link.map(|link| link.connection.stats().path);
        Some(PeerView {
            address,
            relay: relay.cloned(),
            is_up: remote.machine.is_up(),
            is_needed: remote.machine.is_needed(),
            path: path.map(|path| PathView {
                rtt: path.rtt,
                udp_payload: path.current_mtu,
                sent_packets: path.sent_packets,
                lost_packets: path.lost_packets,
            }),
            counts: remote.machine.counts(),
            reassembly: link
                .map_or_else(ReassembleCounts::default, |link| link.reassembler.counts()),
        })
    }
}
