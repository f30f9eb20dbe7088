//! What the API shows of tunnels to other hosts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_api::{HostTunnel, OverlayDetail, TunnelView};
use overlay_core::HostId;
use overlay_io::{PathView, PeerView, QuicTunnel};
use switch_io::Switch;

use super::overlay::{TunnelPort, Tunnels};
use super::state::{Network, Segment};
use super::view;
use crate::record::Encap;

/// A network's way over hosts.
pub(super) fn overlay(
    switch: &Switch,
    tunnels: &Tunnels,
    network: &Network,
) -> Option<OverlayDetail> {
    let overlay = network.record.overlay.as_ref()?;
    let segment = network.segment.as_ref()?;
    let rows = segment.tunnels.iter();
    Some(OverlayDetail {
        encap: overlay.encap.name().to_owned(),
        vni: overlay.vni,
        tunnels: rows
            .map(|(remote, tunnel)| row(switch, tunnels, segment, *remote, tunnel))
            .collect(),
        drops: match overlay.encap {
            Encap::Quic => quic(tunnels),
            Encap::Vxlan => vxlan(tunnels, segment),
        },
    })
}

fn row(
    switch: &Switch,
    tunnels: &Tunnels,
    segment: &Segment,
    remote: IpAddr,
    tunnel: &TunnelPort,
) -> TunnelView {
    let mut hosts = segment.hosts.iter();
    let host = hosts.find_map(|(host, at)| (*at == remote).then_some(host));
    let is_quic = tunnel.local.is_none();
    let peer = host.filter(|_| is_quic).zip(tunnels.quic());
    let peer = peer.and_then(|(host, quic)| quic.peer(host));
    let counts = switch.counters(tunnel.port).unwrap_or_default();
    TunnelView {
        port: tunnel.port.0,
        host: host.map(ToString::to_string),
        address: remote,
        up: is_quic.then(|| peer.as_ref().is_some_and(|peer| peer.is_up)),
        rtt_us: peer.as_ref().and_then(rtt_us),
        rx_frames: counts.rx_frames,
        rx_bytes: counts.rx_bytes,
        tx_frames: counts.tx_frames,
        tx_bytes: counts.tx_bytes,
        drops: view::drops(&counts),
    }
}

/// What the QUIC socket refused and dropped.
pub(super) fn quic(tunnels: &Tunnels) -> BTreeMap<String, u64> {
    let Some(quic) = tunnels.quic() else {
        return BTreeMap::new();
    };
    let mut drops = named(quic.counts().named());
    drops.extend(named([("socket_full", quic.unreceived())]));
    drops
}

fn vxlan(tunnels: &Tunnels, segment: &Segment) -> BTreeMap<String, u64> {
    let locals = segment.tunnels.values().filter_map(|tunnel| tunnel.local);
    let mut found = locals.filter_map(|local| tunnels.vxlan(local));
    // All tunnels of a network begin at one address, so that each has the counts of the one socket.
    let Some(tunnel) = found.next() else {
        return BTreeMap::new();
    };
    let mut drops = named(tunnel.counts().named());
    drops.extend(named([("socket_full", tunnel.unreceived())]));
    drops
}

/// The connection to a host.
pub(super) fn host_tunnel(quic: &QuicTunnel, host: &str) -> Option<HostTunnel> {
    let peer = quic.peer(&HostId::new(host).ok()?)?;
    let path = peer.path.filter(|_| peer.is_up);
    let (counts, reassembly) = (peer.counts, peer.reassembly);
    let counts = named([
        ("dials", counts.dials),
        ("ups", counts.ups),
        ("downs", counts.downs),
        ("refused", counts.refused),
        ("silent", counts.silent),
        ("malformed", counts.malformed),
        ("frames_completed", reassembly.completed),
        ("frames_partial", reassembly.partial),
        ("frames_lost", reassembly.lost),
        ("pieces_stale", reassembly.stale),
        ("pieces_mismatched", reassembly.mismatched),
        ("pieces_full", reassembly.full),
        ("frames_invalid", reassembly.invalid),
    ]);
    Some(HostTunnel {
        up: peer.is_up,
        address: peer.address,
        rtt_us: rtt_us(&peer),
        udp_payload: path.map(|path| path.udp_payload),
        sent_packets: path.map(|path| path.sent_packets),
        lost_packets: path.map(|path| path.lost_packets),
        counts,
    })
}

fn rtt_us(peer: &PeerView) -> Option<u64> {
    let path: &PathView = peer.path.as_ref().filter(|_| peer.is_up)?;
    u64::try_from(path.rtt.as_micros()).ok()
}

fn named<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
