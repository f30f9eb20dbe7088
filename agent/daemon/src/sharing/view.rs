//! What the API shows of tunnels to other hosts, and of what is dropped.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent_api::{CaRotation, CaView, HostReach, HostTunnel, ManagersView, PathMtu, TunnelView};
use agent_cluster::{CaState, ManagersNow};
use agent_core::record::Encap;
use overlay_core::HostId;
use overlay_io::{PathView, PeerView, QuicTunnel};
use switch_core::PortCounts;

use super::path_mtu::of_payload;
use super::tunnels::{TunnelPort, Tunnels};

/// The cluster's certificate authority.
pub(super) fn ca(state: CaState) -> CaView {
    CaView {
        until_s: state.until_s,
        rotation: state.rotation.map(|rotation| CaRotation {
            renewed: rotation.renewed,
            up: rotation.alive,
        }),
    }
}

/// Who is a manager.
pub(super) fn managers(now: ManagersNow) -> ManagersView {
    ManagersView {
        host: now.host,
        managers: now.names,
        run_etcd: now.run_etcd,
    }
}

/// A network's tunnel to a remote address, behind which is a `host` of the cluster or nobody that is known.
pub(crate) fn row(
    tunnels: &Tunnels,
    (remote, host): (IpAddr, Option<&HostId>),
    tunnel: &TunnelPort,
    counts: &PortCounts,
) -> TunnelView {
    let is_quic = tunnel.local.is_none();
    let peer = host.filter(|_| is_quic).zip(tunnels.quic());
    let peer = peer.and_then(|(host, quic)| quic.peer(host));
    TunnelView {
        port: tunnel.port.0,
        host: host.map(ToString::to_string),
        address: remote,
        up: is_quic.then(|| peer.as_ref().is_some_and(|peer| peer.is_up)),
        rtt_us: peer.as_ref().and_then(rtt_us),
        path_mtu: match &peer {
            Some(peer) => path_mtu(peer),
            None => tunnel
                .local
                .and_then(|local| tunnels.vxlan_path(Some(local), remote)),
        },
        rx_frames: counts.rx_frames,
        rx_bytes: counts.rx_bytes,
        tx_frames: counts.tx_frames,
        tx_bytes: counts.tx_bytes,
        drops: drops(counts),
    }
}

/// What the sockets of a network refused and dropped.
pub(crate) fn socket_drops<'a>(
    tunnels: &Tunnels,
    encap: Encap,
    mut ports: impl Iterator<Item = &'a TunnelPort>,
) -> BTreeMap<String, u64> {
    match encap {
        Encap::Quic => quic(tunnels),
        Encap::Vxlan => {
            // All tunnels of a network begin at one address, so that each has the counts of the one socket.
            let local = ports.find_map(|tunnel| tunnel.local);
            named(local.map_or_else(Vec::new, |local| tunnels.vxlan_drops(local)))
        }
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
        needed: peer.is_needed,
        for_s: None,
        address: peer.address,
        relay: peer.relay.as_ref().map(ToString::to_string),
        rtt_us: rtt_us(&peer),
        udp_payload: path.map(|path| path.udp_payload),
        sent_packets: path.map(|path| path.sent_packets),
        lost_packets: path.map(|path| path.lost_packets),
        counts,
    })
}

/// How another host is seen, where this one has a socket for tunnels or not.
pub(super) fn reach(is_alive: bool, tunnel: Option<&HostTunnel>, has_socket: bool) -> HostReach {
    match tunnel {
        _ if !is_alive => HostReach::Away,
        Some(tunnel) if tunnel.up => HostReach::Up,
        Some(tunnel) if !tunnel.needed => HostReach::Idle,
        None if has_socket => HostReach::Idle,
        _ => HostReach::Down,
    }
}

fn rtt_us(peer: &PeerView) -> Option<u64> {
    let path: &PathView = peer.path.as_ref().filter(|_| peer.is_up)?;
    u64::try_from(path.rtt.as_micros()).ok()
}

/// Absent where another host passes on what goes there.
fn path_mtu(peer: &PeerView) -> Option<PathMtu> {
    let is_direct = peer.is_up && peer.relay.is_none();
    let path = peer.path.as_ref().filter(|_| is_direct)?;
    Some(of_payload(peer.address.ip(), path.udp_payload))
}

fn named<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

/// What was dropped at a port, by reason.
pub(crate) fn drops(counts: &PortCounts) -> BTreeMap<String, u64> {
    counts
        .drop_reasons()
        .map(|(reason, count)| (reason.name().to_owned(), count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_up_down_idle_or_away() {
        let tunnel = |up, needed| HostTunnel {
            up,
            needed,
            for_s: None,
            address: "192.0.2.2:4790".parse().unwrap(),
            relay: None,
            rtt_us: None,
            udp_payload: None,
            sent_packets: None,
            lost_packets: None,
            counts: BTreeMap::new(),
        };
        let seen = |up, needed| reach(true, Some(&tunnel(up, needed)), true);
        assert_eq!(seen(true, true), HostReach::Up);
        assert_eq!(seen(true, false), HostReach::Up);
        assert_eq!(seen(false, true), HostReach::Down);
        assert_eq!(seen(false, false), HostReach::Idle);
        assert_eq!(reach(true, None, true), HostReach::Idle);
        assert_eq!(reach(true, None, false), HostReach::Down);
        assert_eq!(
            reach(false, Some(&tunnel(false, true)), true),
            HostReach::Away
        );
        assert_eq!(reach(false, None, true), HostReach::Away);
    }
}
