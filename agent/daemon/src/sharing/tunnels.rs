//! Tunnels: how frames of this host's networks get to other hosts.
//!
//! # Theory of operation
//!
//! As a member of a cluster this host has one QUIC socket. It keeps connections to the hosts that this one needs ([`Demand`]),
//! and takes those of every other host that is alive. A certificate is checked when a connection begins; when one ends, its connection is closed and dialed anew.
//!
//! One VXLAN socket per local address and UDP port carries the networks that use it; the first tunnel opens it, the last one closes it. A
//! remote host in a network is a port of the network's bridge, in the tunnels' split-horizon group. Sockets are bound to
//! the very address that other hosts know this one by, because a VTEP takes frames from known addresses only. When the host
//! loses that address, its tunnels go on from another one (see `crate::follow`). The guardian holds all sockets that receive:
//! while no agent runs, packets wait there, nobody is told that the port is closed, and nobody else gets it.
//!
//! Opening and closing at one place take turns. The lists of sockets are locked for a look only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use agent_host::has_a_say;
use overlay_core::{Demand, HostId, OuterPolicy, VXLAN_UDP_PORT};
use overlay_io::{
    AddTunnelPort, BindTunnel, Gateway, QuicConfig, QuicTunnel, RebindQuic, StartQuic, VxlanConfig,
    VxlanTunnel,
};
use switch_core::{Bridge, PortConfig, PortCounts, PortId, Vni};
use switch_io::AddPort;

use super::route::vxlan_mtu;
use crate::ground::Ground;
use crate::locks::lock;
use crate::turns::Turns;

/// The sockets, by where they receive.
pub(crate) struct Tunnels {
    pub(super) ground: Arc<Ground>,
    vxlan: Mutex<BTreeMap<SocketAddr, Arc<VxlanSocket>>>,
    turns: Turns<SocketAddr>,
    /// What VXLAN needs to receive from packet rings; absent where it may not.
    nft: Option<PathBuf>,
    quic: Mutex<Option<QuicSocket>>,
    /// Locked before `quic`.
    pub(super) demand: Mutex<Demand>,
    /// Sockets of VXLAN are read: all tunnels are there of which datagrams may wait.
    is_listening: AtomicBool,
}

struct QuicSocket {
    tunnel: Arc<QuicTunnel>,
    trunk: PortId,
}

pub(super) struct VxlanSocket {
    pub(super) local: SocketAddr,
    pub(super) tunnel: VxlanTunnel,
    trunk: PortId,
    ports: Mutex<BTreeMap<PortId, VxlanLink>>,
}

/// What a port of a VXLAN socket is for.
#[derive(Clone, Debug)]
struct VxlanLink {
    vni: Vni,
    remote: IpAddr,
    config: PortConfig,
    outer: OuterPolicy,
}

/// Both ends of a VXLAN tunnel, and what its datagrams say on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VxlanEnds {
    /// Remotes use the same UDP port.
    pub(crate) local: SocketAddr,
    pub(crate) remote: IpAddr,
    pub(crate) outer: OuterPolicy,
}

/// A remote host in one network.
#[derive(Clone, Debug)]
pub(crate) struct TunnelPort {
    pub(crate) port: PortId,
    /// The VXLAN socket it uses; absent over QUIC.
    pub(crate) local: Option<SocketAddr>,
}

/// Why a network does not reach a host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenTunnel {
    #[error(transparent)]
    Vxlan(#[from] BindTunnel),
    #[error(transparent)]
    Quic(#[from] StartQuic),
    #[error(transparent)]
    Port(#[from] AddTunnelPort),
    #[error(transparent)]
    Switch(#[from] AddPort),
    #[error("QUIC is not running on this host")]
    NoQuic,
    #[error("no route to {0}")]
    NoRoute(IpAddr),
}

impl Tunnels {
    /// None yet. With the program `nft`, VXLAN may receive from packet rings.
    pub(crate) fn new(ground: Arc<Ground>, nft: Option<PathBuf>) -> Self {
        Self {
            ground,
            nft,
            vxlan: Mutex::default(),
            turns: Turns::default(),
            quic: Mutex::default(),
            demand: Mutex::default(),
            is_listening: AtomicBool::new(false),
        }
    }

    /// Reads the sockets of VXLAN from now on. At a start, when there is a port for each tunnel that was there before: what
    /// waits at a socket finds its way then.
    pub(crate) fn listen(&self) {
        self.is_listening.store(true, Ordering::Release);
        for socket in self.vxlan_sockets() {
            self.listen_to(&socket);
        }
    }

    /// Another agent is about to read them: a socket that is opened now is not read. The port that is read all the same, since
    /// connections stay this agent's.
    pub(crate) fn pause(&self) -> Option<PortId> {
        self.is_listening.store(false, Ordering::Release);
        lock(&self.quic).as_ref().map(|socket| socket.trunk)
    }

    /// The switch reads all ports again.
    pub(super) fn are_listened_to(&self) {
        self.is_listening.store(true, Ordering::Release);
    }

    fn listen_to(&self, socket: &VxlanSocket) {
        if let Err(error) = self.ground.switch.listen(socket.trunk) {
            let local = socket.local;
            self.ground.warn(format!(
                "nothing is received over VXLAN at {local}: {error}"
            ));
        }
    }

    pub(super) fn vxlan_sockets(&self) -> Vec<Arc<VxlanSocket>> {
        lock(&self.vxlan).values().cloned().collect()
    }

    /// A port of `bridge` that leads to `remote`. Packets longer than the link of `local` carries are answered in the name of
    /// `gateway`.
    pub(crate) fn open_vxlan(
        &self,
        bridge: &Arc<Bridge>,
        ends: VxlanEnds,
        (vni, config): (Vni, PortConfig),
        gateway: Gateway,
    ) -> Result<TunnelPort, OpenTunnel> {
        let local = ends.local;
        let _turn = self.turns.take(local);
        let open = lock(&self.vxlan).get(&local).cloned();
        let socket = match open {
            Some(socket) => socket,
            None => {
                let opened = Arc::new(self.open_socket(local)?);
                lock(&self.vxlan).insert(local, Arc::clone(&opened));
                if self.is_listening.load(Ordering::Acquire) {
                    self.listen_to(&opened);
                }
                opened
            }
        };
        let link = VxlanLink {
            vni,
            remote: ends.remote,
            config,
            outer: ends.outer,
        };
        let opened = self.open_port(&socket, bridge, link, gateway);
        self.close_unused(local);
        opened.map(|port| TunnelPort {
            port,
            local: Some(local),
        })
    }

    /// Returns what was counted at the tunnel's port.
    pub(crate) fn close(&self, tunnel: &TunnelPort) -> PortCounts {
        let counts = self.ground.switch.remove_port(tunnel.port).counters();
        if let Some(local) = tunnel.local {
            let _turn = self.turns.take(local);
            if let Some(socket) = lock(&self.vxlan).get(&local) {
                lock(&socket.ports).remove(&tunnel.port);
            }
            self.close_unused(local);
        }
        counts
    }

    /// Where tunnels receive.
    pub(crate) fn addresses(&self) -> BTreeSet<SocketAddr> {
        let quic = self.quic().map(|tunnel| tunnel.local_address());
        let vxlan = lock(&self.vxlan);
        vxlan.keys().copied().chain(quic).collect()
    }

    /// Starts to carry frames over QUIC to `peers`, in place of what did so before.
    pub(crate) fn start_quic(
        &self,
        config: QuicConfig,
        peers: &[(HostId, SocketAddr)],
    ) -> Result<Arc<QuicTunnel>, OpenTunnel> {
        self.stop_quic();
        let kept = self.ground.held.take(&held_name(QUIC, config.local));
        let (tunnel, trunk) = match (kept, self.heritage(config.local)) {
            (Some(kept), Some(heritage)) => QuicTunnel::start_beside(config, kept, heritage),
            (kept, _) => QuicTunnel::start_again(config, kept),
        }?;
        self.hold(QUIC, tunnel.local_address(), tunnel.socket());
        // Before anything is read: they may be at the door.
        for (host, address) in peers {
            tunnel.expect(host, *address);
        }
        let trunk = self.ground.switch.add_trunk(Box::new(trunk))?;
        let tunnel = Arc::new(tunnel);
        let demand = lock(&self.demand);
        tunnel.need(demand.hosts());
        *lock(&self.quic) = Some(QuicSocket {
            tunnel: Arc::clone(&tunnel),
            trunk,
        });
        Ok(tunnel)
    }

    pub(crate) fn stop_quic(&self) {
        let stopped = lock(&self.quic).take();
        if let Some(socket) = stopped {
            self.ground.switch.remove_port(socket.trunk);
            self.let_go(QUIC, socket.tunnel.local_address());
        }
    }

    /// Lets QUIC go on from another address.
    pub(crate) fn rebind_quic(&self, local: SocketAddr) -> Result<(), RebindQuic> {
        let Some(tunnel) = self.quic() else {
            return Ok(());
        };
        let old = tunnel.local_address();
        tunnel.rebind(local)?;
        self.hold(QUIC, local, tunnel.socket());
        self.let_go(QUIC, old);
        Ok(())
    }

    /// At the end of the start: sockets of tunnels that are no more.
    pub(crate) fn let_go_of_others(&self) {
        self.ground.held.release_others(HELD);
    }

    fn hold(&self, kind: &str, local: SocketAddr, socket: io::Result<OwnedFd>) {
        match socket {
            Ok(socket) => self.ground.held.hold(&held_name(kind, local), socket),
            Err(error) => {
                tracing::warn!(%local, %error, "a tunnel's socket would go with the agent");
            }
        }
    }

    fn let_go(&self, kind: &str, local: SocketAddr) {
        self.ground.held.release(&held_name(kind, local));
    }

    pub(crate) fn quic(&self) -> Option<Arc<QuicTunnel>> {
        lock(&self.quic)
            .as_ref()
            .map(|socket| Arc::clone(&socket.tunnel))
    }

    /// A port of `bridge` that leads to `host` over its connection.
    pub(crate) fn open_quic(
        &self,
        bridge: &Arc<Bridge>,
        host: &HostId,
        (vni, config): (Vni, PortConfig),
    ) -> Result<TunnelPort, OpenTunnel> {
        let tunnel = self.quic().ok_or(OpenTunnel::NoQuic)?;
        let port = tunnel.port(vni, host, config.mtu)?;
        let port = self
            .ground
            .switch
            .add_port(bridge, Box::new(port), config)?;
        Ok(TunnelPort { port, local: None })
    }

    /// Lets VXLAN carry what the links of the underlay carry now.
    pub(crate) fn refit(&self) {
        for socket in self.vxlan_sockets() {
            let mtu = socket.mtu();
            for link in lock(&socket.ports).values() {
                let carried = link.config.mtu.min(mtu);
                socket.tunnel.set_mtu(link.vni, link.remote, carried);
            }
        }
    }

    /// What the socket at `local` refused and dropped, with what the kernel dropped for want of a reader.
    pub(crate) fn vxlan_drops(&self, local: SocketAddr) -> Vec<(&'static str, u64)> {
        let socket = lock(&self.vxlan).get(&local).cloned();
        let Some(socket) = socket else {
            return Vec::new();
        };
        let mut drops = socket.tunnel.counts().named().to_vec();
        drops.push(("socket_full", socket.tunnel.unreceived()));
        drops
    }

    fn open_socket(&self, local: SocketAddr) -> Result<VxlanSocket, OpenTunnel> {
        let config = VxlanConfig {
            nft: self.nft.clone(),
            stands_back: Some(|nft| has_a_say(nft, VXLAN_UDP_PORT)),
            ..VxlanConfig::at(local)
        };
        let kept = self.ground.held.take(&held_name(VXLAN, config.local));
        let (tunnel, trunk) = VxlanTunnel::bind_again(&config, kept)?;
        self.hold(VXLAN, config.local, tunnel.socket());
        Ok(VxlanSocket {
            local,
            tunnel,
            trunk: self.ground.switch.attach_trunk(Box::new(trunk))?,
            ports: Mutex::default(),
        })
    }

    fn open_port(
        &self,
        socket: &VxlanSocket,
        bridge: &Arc<Bridge>,
        link: VxlanLink,
        gateway: Gateway,
    ) -> Result<PortId, OpenTunnel> {
        let carried = link.config.mtu.min(socket.mtu());
        let port = socket
            .tunnel
            .port(link.vni, link.remote, carried)?
            .with_gateway(gateway)
            .with_outer(link.outer)?;
        let port = self
            .ground
            .switch
            .add_port(bridge, Box::new(port), link.config.clone())?;
        lock(&socket.ports).insert(port, link);
        Ok(port)
    }

    /// In the turn of `local`.
    fn close_unused(&self, local: SocketAddr) {
        let unused = {
            let mut sockets = lock(&self.vxlan);
            match sockets.get(&local) {
                Some(socket) if lock(&socket.ports).is_empty() => sockets.remove(&local),
                _ => None,
            }
        };
        if let Some(socket) = unused {
            self.ground.switch.remove_port(socket.trunk);
            self.let_go(VXLAN, local);
        }
    }
}

impl VxlanSocket {
    /// What the underlay leaves; everything where that is not known.
    fn mtu(&self) -> u32 {
        vxlan_mtu(self.local.ip()).map_or(u32::MAX, u32::from)
    }
}

/// Without colons, which separate names where a service manager keeps them.
pub(super) fn held_name(kind: &str, local: SocketAddr) -> String {
    let address = local.ip().to_string().replace(':', "_");
    format!("{HELD}{kind}/{address}/{}", local.port())
}

/// How the names of sockets begin by which the guardian holds them.
const HELD: &str = "udp/";
const QUIC: &str = "quic";
const VXLAN: &str = "vxlan";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_held_by_its_place_in_a_name_that_a_service_manager_takes() {
        let name = |local: &str| held_name(QUIC, local.parse().unwrap());
        assert_eq!(name("192.0.2.1:4790"), "udp/quic/192.0.2.1/4790");
        assert_eq!(name("[2001:db8::1]:4790"), "udp/quic/2001_db8__1/4790");
    }
}
