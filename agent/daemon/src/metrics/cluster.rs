//! The cluster, and the connections to its hosts.

use agent_api::{ClusterDetail, HostState, HostTunnel, HostView};

use super::exposition::{Exposition, Label};
use super::host::{real, whole};
use super::label;
use super::metric::Metric;
use crate::sharing::Sharing;

/// Nothing outside of clusters.
pub(super) fn tell(told: &mut Exposition, sharing: &Sharing) {
    let Ok(cluster) = sharing.inspect() else {
        return;
    };
    state(told, &cluster);
    for host in &cluster.hosts {
        if let Some(tunnel) = &host.tunnel {
            self::tunnel(told, host, tunnel);
        }
    }
    for (reason, count) in &cluster.quic {
        told.whole(Metric::TunnelDrops, &[&label(reason)], *count);
    }
}

fn state(told: &mut Exposition, cluster: &ClusterDetail) {
    told.whole(Metric::ClusterInStep, &[], u64::from(cluster.in_step));
    for (name, state) in [("up", HostState::Up), ("down", HostState::Down)] {
        let such = cluster.hosts.iter().filter(|host| host.state == state);
        told.whole(Metric::ClusterHosts, &[&label(name)], whole(such.count()));
    }
    let managers = whole(cluster.managers.len());
    told.whole(Metric::ClusterManagers, &[], managers);
    let until = real(cluster.certificate_until_s);
    told.real(Metric::ClusterCertificate, &[], until);
    for (what, count) in [
        ("hosts", cluster.refused),
        ("records", cluster.records_refused),
        ("writes", cluster.denied),
    ] {
        told.whole(Metric::ClusterRefused, &[&label(what)], count);
    }
}

fn tunnel(told: &mut Exposition, host: &HostView, tunnel: &HostTunnel) {
    let labels: [&Label; 2] = [&label(&host.id), &label(&host.name)];
    // One that is not needed is no fault while it is down.
    if tunnel.up || tunnel.needed {
        told.whole(Metric::TunnelUp, &labels, u64::from(tunnel.up));
    }
    if let Some(rtt_us) = tunnel.rtt_us {
        told.real(Metric::TunnelRtt, &labels, real(rtt_us) / 1e6);
    }
    if let Some(payload) = tunnel.udp_payload {
        told.whole(Metric::TunnelPayload, &labels, payload.into());
    }
    if let (Some(sent), Some(lost)) = (tunnel.sent_packets, tunnel.lost_packets) {
        told.whole(Metric::TunnelPackets, &labels, sent);
        told.whole(Metric::TunnelLost, &labels, lost);
    }
}
