//! The way to another host: from which address, and over a link that carries how much.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use agent_host::netlink::{Netlink, NetlinkError};
use overlay_core::mtu::{Underlay, quic_inner_default, vxlan_inner};

/// The address that this host has towards `remote`. Nothing is sent: connecting a UDP socket only picks the route.
pub(crate) fn local_address(remote: IpAddr) -> Option<IpAddr> {
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
pub(crate) fn vxlan_mtu(local: IpAddr) -> Result<u16, NetlinkError> {
    let inner = vxlan_inner(underlay(local), link_mtu(local)?);
    Ok(u16::try_from(inner).unwrap_or(u16::MAX))
}

/// The packet that crosses best over QUIC: Ethernet's, which is cut in two, or on jumbo links what crosses whole.
pub(crate) fn quic_mtu(local: IpAddr) -> Result<u16, NetlinkError> {
    let inner = quic_inner_default(underlay(local), link_mtu(local)?);
    Ok(u16::try_from(inner).unwrap_or(u16::MAX))
}

/// The longest UDP payload that fits the link of `local`.
pub(crate) fn udp_payload_max(local: IpAddr) -> Result<u16, NetlinkError> {
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
