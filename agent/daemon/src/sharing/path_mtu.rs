//! How long a packet the paths to other hosts carry, as the tunnels have found.

use std::net::{IpAddr, SocketAddr};

use agent_api::{HostTunnel, PathMtu, PathMtuFound};
use overlay_core::PathFinding;
use overlay_core::mtu::Underlay;

use super::tunnels::Tunnels;

impl Tunnels {
    /// Of the path that VXLAN takes to `remote`: from `local`, or from wherever it does.
    pub(super) fn vxlan_path(&self, local: Option<SocketAddr>, remote: IpAddr) -> Option<PathMtu> {
        let is_from = |at: SocketAddr| local.is_none_or(|local| local == at);
        let sockets = self.vxlan_sockets();
        let mut from = sockets.iter().filter(|socket| is_from(socket.local));
        let finding = from.find_map(|socket| socket.tunnel.path(remote));
        finding.and_then(shown)
    }
}

/// Of the path of a connection; absent where another host passes on what goes there.
pub(super) fn of_connection(tunnel: &HostTunnel) -> Option<PathMtu> {
    let payload = tunnel.udp_payload.filter(|_| tunnel.relay.is_none())?;
    Some(of_payload(tunnel.address.ip(), payload))
}

/// Where the longest UDP payload to an address is known.
pub(super) fn of_payload(remote: IpAddr, udp_payload: u16) -> PathMtu {
    let underlay = match remote {
        IpAddr::V4(_) => Underlay::V4,
        IpAddr::V6(_) => Underlay::V6,
    };
    PathMtu {
        found: PathMtuFound::Measured,
        bytes: Some(u32::from(udp_payload) + underlay.udp_overhead()),
    }
}

fn shown(finding: PathFinding) -> Option<PathMtu> {
    let (found, bytes) = match finding {
        PathFinding::Unknown => return None,
        PathFinding::Measured(bytes) => (PathMtuFound::Measured, Some(bytes)),
        PathFinding::Told(bytes) => (PathMtuFound::Told, Some(bytes)),
        PathFinding::Unfindable => (PathMtuFound::Unfindable, None),
    };
    Some(PathMtu { found, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connections_payload_and_its_headers_are_what_the_path_carries() {
        let measured = |bytes| PathMtu {
            found: PathMtuFound::Measured,
            bytes: Some(bytes),
        };
        assert_eq!(of_payload([192, 0, 2, 1].into(), 1472), measured(1500));
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(of_payload(v6, 1452), measured(1500));
        assert_eq!(shown(PathFinding::Measured(1400)), Some(measured(1400)));
        assert_eq!(shown(PathFinding::Unknown), None);
    }
}
