//! Tunnels: how frames of this host's networks get to other hosts.
//!
//! # Theory of operation
//!
//! As a member of a cluster this host has one QUIC socket, which keeps a connection to every other host that is alive. A
//! certificate is checked when a connection begins; when one ends, its connection is closed and dialed anew.
//!
//! One VXLAN socket per local address carries the networks that use it; the first tunnel opens it, the last one closes it. A
//! remote host in a network is a port of the network's bridge, in the tunnels' split-horizon group. Sockets are bound to
//! the very address that other hosts know this one by, because a VTEP takes frames from known addresses only. When the host
//! loses that address, its tunnels go on from another one (see [`super::underlay`]).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use overlay_core::mtu::{Underlay, quic_inner_default, vxlan_inner};
use overlay_core::{HostId, VXLAN_UDP_PORT};
use overlay_io::{Gateway, QuicConfig, QuicTunnel, VxlanConfig, VxlanTunnel};
use switch_core::{Bridge, PortConfig, PortCounts, PortId, Vni};
use switch_io::Switch;

use crate::netlink::{Netlink, NetlinkError};

/// The sockets, by local address.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    vxlan: BTreeMap<IpAddr, VxlanSocket>,
    /// What VXLAN needs to receive from packet rings; absent where it may not.
    nft: Option<PathBuf>,
    quic: Option<QuicSocket>,
}

#[derive(Debug)]
struct QuicSocket {
    tunnel: Arc<QuicTunnel>,
    trunk: PortId,
}

#[derive(Debug)]
struct VxlanSocket {
    local: IpAddr,
    tunnel: VxlanTunnel,
    trunk: PortId,
    ports: BTreeMap<PortId, VxlanLink>,
}

/// What a port of a VXLAN socket is for.
#[derive(Debug)]
struct VxlanLink {
    vni: Vni,
    remote: IpAddr,
    config: PortConfig,
}

/// A remote host in one network.
#[derive(Debug)]
pub(super) struct TunnelPort {
    pub(super) port: PortId,
    /// The VXLAN socket it uses; absent over QUIC.
    pub(super) local: Option<IpAddr>,
}

impl Tunnels {
    /// None yet. With the program `nft`, VXLAN may receive from packet rings.
    pub(super) fn new(nft: Option<PathBuf>) -> Self {
        Self {
            nft,
            ..Self::default()
        }
    }

    /// A port of `bridge` that leads to `remote`. Packets longer than the link of `local` carries are answered in the name of
    /// `gateway`.
    pub(super) fn open_vxlan(
        &mut self,
        switch: &Switch,
        bridge: &Arc<Bridge>,
        (local, remote): (IpAddr, IpAddr),
        (vni, config): (Vni, PortConfig),
        gateway: Gateway,
    ) -> Result<TunnelPort, String> {
        let socket = match self.vxlan.entry(local) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                place.insert(VxlanSocket::open(switch, local, self.nft.clone())?)
            }
        };
        let link = VxlanLink {
            vni,
            remote,
            config,
        };
        let opened = socket.port(switch, bridge, link, gateway);
        self.close_unused(switch, local);
        opened.map(|port| TunnelPort {
            port,
            local: Some(local),
        })
    }

    /// Returns what was counted at the tunnel's port.
    pub(super) fn close(&mut self, switch: &Switch, tunnel: &TunnelPort) -> PortCounts {
        let counts = switch.remove_port(tunnel.port).counters();
        let Some(local) = tunnel.local else {
            return counts;
        };
        if let Some(socket) = self.vxlan.get_mut(&local) {
            socket.ports.remove(&tunnel.port);
        }
        self.close_unused(switch, local);
        counts
    }

    /// Where tunnels receive.
    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        let vxlan = self.vxlan.keys();
        let vxlan = vxlan.map(|local| SocketAddr::new(*local, VXLAN_UDP_PORT));
        let quic = self.quic().map(|tunnel| tunnel.local_address());
        vxlan.chain(quic).collect()
    }

    /// Starts to carry frames over QUIC, in place of what did so before.
    pub(super) fn start_quic(
        &mut self,
        switch: &Switch,
        config: QuicConfig,
    ) -> Result<Arc<QuicTunnel>, String> {
        self.stop_quic(switch);
        let (tunnel, trunk) = QuicTunnel::start(config).map_err(|error| error.to_string())?;
        let trunk = switch
            .add_trunk(Box::new(trunk))
            .map_err(|error| error.to_string())?;
        let tunnel = Arc::new(tunnel);
        self.quic = Some(QuicSocket {
            tunnel: Arc::clone(&tunnel),
            trunk,
        });
        Ok(tunnel)
    }

    pub(super) fn stop_quic(&mut self, switch: &Switch) {
        if let Some(socket) = self.quic.take() {
            switch.remove_port(socket.trunk);
        }
    }

    pub(super) fn quic(&self) -> Option<&Arc<QuicTunnel>> {
        self.quic.as_ref().map(|socket| &socket.tunnel)
    }

    /// A port of `bridge` that leads to `host` over its connection.
    pub(super) fn open_quic(
        &self,
        switch: &Switch,
        bridge: &Arc<Bridge>,
        host: &HostId,
        (vni, config): (Vni, PortConfig),
    ) -> Result<TunnelPort, String> {
        let tunnel = self.quic().ok_or("QUIC is not running on this host")?;
        let port = tunnel
            .port(vni, host, config.mtu)
            .map_err(|error| error.to_string())?;
        let port = switch
            .add_port(bridge, Box::new(port), config)
            .map_err(|error| error.to_string())?;
        Ok(TunnelPort { port, local: None })
    }

    /// Lets VXLAN carry what the links of the underlay carry now.
    pub(super) fn refit(&self) {
        for socket in self.vxlan.values() {
            socket.refit();
        }
    }

    /// The tunnel that receives at `local`.
    pub(super) fn vxlan(&self, local: IpAddr) -> Option<&VxlanTunnel> {
        self.vxlan.get(&local).map(|socket| &socket.tunnel)
    }

    fn close_unused(&mut self, switch: &Switch, local: IpAddr) {
        if self
            .vxlan
            .get(&local)
            .is_some_and(|socket| socket.ports.is_empty())
            && let Some(socket) = self.vxlan.remove(&local)
        {
            switch.remove_port(socket.trunk);
        }
    }
}

impl VxlanSocket {
    fn open(switch: &Switch, local: IpAddr, nft: Option<PathBuf>) -> Result<Self, String> {
        let config = VxlanConfig {
            nft,
            ..VxlanConfig::new(local)
        };
        let (tunnel, trunk) = VxlanTunnel::bind(&config).map_err(|error| error.to_string())?;
        let trunk = switch
            .add_trunk(Box::new(trunk))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            local,
            tunnel,
            trunk,
            ports: BTreeMap::new(),
        })
    }

    fn port(
        &mut self,
        switch: &Switch,
        bridge: &Arc<Bridge>,
        link: VxlanLink,
        gateway: Gateway,
    ) -> Result<PortId, String> {
        let carried = link.config.mtu.min(self.mtu());
        let port = self
            .tunnel
            .port(link.vni, link.remote, carried)
            .map_err(|error| error.to_string())?
            .with_gateway(gateway);
        let port = switch
            .add_port(bridge, Box::new(port), link.config)
            .map_err(|error| error.to_string())?;
        self.ports.insert(port, link);
        Ok(port)
    }

    /// What the underlay leaves; everything where that is not known.
    fn mtu(&self) -> u32 {
        vxlan_mtu(self.local).map_or(u32::MAX, u32::from)
    }

    fn refit(&self) {
        let mtu = self.mtu();
        for link in self.ports.values() {
            let carried = link.config.mtu.min(mtu);
            self.tunnel.set_mtu(link.vni, link.remote, carried);
        }
    }
}

/// The address that this host has towards `remote`. Nothing is sent: connecting a UDP socket only picks the route.
pub(super) fn local_address(remote: IpAddr) -> Option<IpAddr> {
    let unspecified: IpAddr = match remote {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0)).ok()?;
    socket
        .connect(SocketAddr::new(remote, DISCARD_UDP_PORT))
        .ok()?;
    let local = socket.local_addr().ok()?.ip();
    (!local.is_unspecified()).then_some(local)
}

/// The largest packet inside VXLAN from `local` to a host of the same family: what its link leaves.
pub(super) fn vxlan_mtu(local: IpAddr) -> Result<u16, NetlinkError> {
    let inner = vxlan_inner(underlay(local), link_mtu(local)?);
    Ok(u16::try_from(inner).unwrap_or(u16::MAX))
}

/// The packet that crosses best over QUIC: Ethernet's, which is cut in two, or on jumbo links what crosses whole.
pub(super) fn quic_mtu(local: IpAddr) -> Result<u16, NetlinkError> {
    let inner = quic_inner_default(underlay(local), link_mtu(local)?);
    Ok(u16::try_from(inner).unwrap_or(u16::MAX))
}

/// The longest UDP payload that fits the link of `local`.
pub(super) fn udp_payload_max(local: IpAddr) -> Result<u16, NetlinkError> {
    let payload = link_mtu(local)?.saturating_sub(underlay(local).udp_overhead());
    Ok(u16::try_from(payload).unwrap_or(u16::MAX))
}

fn underlay(local: IpAddr) -> Underlay {
    match local {
        IpAddr::V4(_) => Underlay::V4,
        IpAddr::V6(_) => Underlay::V6,
    }
}

fn link_mtu(local: IpAddr) -> Result<u32, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let addresses = netlink.addresses()?;
    let index = addresses
        .iter()
        .find(|entry| entry.address.addr() == local)
        .map(|entry| entry.link_index);
    match index {
        Some(index) => Ok(netlink.link_by_index(index)?.mtu),
        None => Ok(ETHERNET_MTU),
    }
}

const DISCARD_UDP_PORT: u16 = 9;
const ETHERNET_MTU: u32 = 1500;
