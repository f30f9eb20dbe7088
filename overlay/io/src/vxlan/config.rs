//! How a VXLAN tunnel runs, and why it does not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use overlay_core::VXLAN_UDP_PORT;

/// How a VXLAN tunnel runs.
#[derive(Clone, Debug)]
pub struct VxlanConfig {
    /// Where datagrams are received; the address may be unspecified. Sending sockets use the same address.
    pub local: SocketAddr,
    /// The remotes' UDP port.
    pub remote_udp_port: u16,
    /// Sending sockets; at least one.
    pub flow_sockets: u16,
    /// The program `nft`, with which the tunnel may receive from a packet ring under load ([`super::ring`]); `None` forbids that.
    pub nft: Option<PathBuf>,
    /// Says, with that program, what on the host is meant to see the datagrams, so that no ring may take them.
    pub stands_back: Option<StandsBack>,
}

/// `None`: nothing is in the way.
pub type StandsBack = fn(&Path) -> Option<String>;

impl VxlanConfig {
    /// On the assigned port, from the socket alone.
    pub const fn new(local: IpAddr) -> Self {
        Self::at(SocketAddr::new(local, VXLAN_UDP_PORT))
    }

    /// On a port that the remotes use too, from the socket alone.
    pub const fn at(local: SocketAddr) -> Self {
        Self {
            local,
            remote_udp_port: local.port(),
            flow_sockets: 256,
            nft: None,
            stands_back: None,
        }
    }
}

/// Why a tunnel did not start.
#[derive(Debug, thiserror::Error)]
pub enum BindTunnel {
    #[error("cannot receive on UDP {address}: {error}; is another VTEP using the port?")]
    Receive {
        address: SocketAddr,
        #[source]
        error: io::Error,
    },
    #[error("no UDP socket to send from: {0}")]
    Send(#[source] io::Error),
    #[error("the tunnel's socket cannot be watched: {0}")]
    Watch(#[source] io::Error),
    #[error("the tunnel's thread does not start: {0}")]
    Thread(#[source] io::Error),
}
