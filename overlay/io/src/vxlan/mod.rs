//! VXLAN tunnels.
//!
//! # Theory of operation
//!
//! One socket, bound to the VXLAN port, receives for every network and remote VTEP. It is read by the *trunk*, which the
//! switch reads like a port: datagrams come in trains (`UDP_GRO`), frames of one flow in a train are joined to superframes
//! again, and each frame is booked on the port of its (VNI, source address). What comes from elsewhere is dropped and counted.
//! Under load of single datagrams the trunk reads a packet ring at the link instead ([`ring`]).
//!
//! A [`VxlanPort`] is one remote VTEP in one network, and only sends. Frames are cut to segments with complete checksums,
//! each behind its own VXLAN header, and leave in trains of equal datagrams (`UDP_SEGMENT`), on the thread that writes them
//! and without a lock.
//!
//! The source port of a datagram tells the underlay's routers which flow it belongs to (RFC 7348 §5), and a train has one
//! source port. So a few sockets send, with ports of the dynamic range, and a flow always leaves by the same. Nothing is
//! read from them; sixteen spread flows well enough over the paths and queues an underlay has, and cost nothing idle.
//!
//! Packets longer than a port's MTU are answered like a router would, if the port knows in whose name
//! ([`VxlanPort::with_gateway`]); the answer enters the switch by the trunk, as from the gateway. TCP is told in time: the MSS
//! of both SYNs is lowered to what crosses.
//!
//! The don't-fragment bit is always set (RFC 7348 §4.3), and ECN marks go in and come out (RFC 6040).

mod answers;
mod offloaded;
mod reader;
mod ring;
mod send;
mod train;
mod unpacking;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use overlay_core::VXLAN_UDP_PORT;
use switch_core::Vni;

use crate::tunnel::{AddTunnelPort, Members};
use crate::readiness::Readiness;
use crate::socket::TunnelSocket;
use crate::strangers::Strangers;

use self::answers::Answers;
pub use self::answers::Gateway;
pub use self::reader::VxlanTrunk;
use self::ring::Lane;
pub use self::send::VxlanPort;

/// How a VXLAN tunnel runs.
#[derive(Clone, Debug)]
pub struct VxlanConfig {
    /// Where datagrams are received; the address may be unspecified. Sending sockets use the same address.
    pub local: SocketAddr,
    /// The remotes' UDP port.
    pub remote_udp_port: u16,
    /// Sending sockets; at least one.
    pub flow_sockets: usize,
    /// The program `nft`, with which the tunnel may receive from a packet ring under load ([`ring`]); `None` forbids that.
    pub nft: Option<PathBuf>,
}

impl VxlanConfig {
    /// On the assigned port, from the socket alone.
    pub const fn new(local: IpAddr) -> Self {
        Self {
            local: SocketAddr::new(local, VXLAN_UDP_PORT),
            remote_udp_port: VXLAN_UDP_PORT,
            flow_sockets: 16,
            nft: None,
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

/// VXLAN over one local address. Its ports end when it is dropped.
#[derive(Debug)]
pub struct VxlanTunnel {
    shared: Arc<Shared>,
}

/// What tunnel, trunk and ports have in common.
#[derive(Debug)]
struct Shared {
    receiver: TunnelSocket,
    senders: Vec<TunnelSocket>,
    remote_udp_port: u16,
    readiness: Arc<Readiness>,
    members: Members<Key>,
    answers: Answers,
    counters: Counters,
    strangers: Strangers,
}

/// Whose frames a port carries.
type Key = (Vni, IpAddr);

/// Datagrams that were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VxlanCounts {
    /// Shorter than a VXLAN header, or without a VNI.
    pub malformed: u64,
    /// No port carries this network.
    pub unknown_vni: u64,
    /// From an address that is no remote of the network.
    pub unknown_remote: u64,
    /// Marked for congestion on the way, with an inner packet that cannot say so (RFC 6040 §4.2).
    pub congestion: u64,
    /// Frames that were not sent, because they are longer than the port's MTU.
    pub too_big: u64,
}

impl VxlanCounts {
    /// Every count, by its name.
    pub const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("malformed", self.malformed),
            ("unknown_vni", self.unknown_vni),
            ("unknown_remote", self.unknown_remote),
            ("congestion", self.congestion),
            ("too_big", self.too_big),
        ]
    }
}

#[derive(Debug, Default)]
struct Counters {
    malformed: AtomicU64,
    unknown_vni: AtomicU64,
    unknown_remote: AtomicU64,
    congestion: AtomicU64,
    too_big: AtomicU64,
}

impl VxlanTunnel {
    /// Binds the sockets in the network namespace of the calling thread, and makes the trunk that receives.
    pub fn bind(config: &VxlanConfig) -> Result<(Self, VxlanTrunk), BindTunnel> {
        let receiver = TunnelSocket::bind(config.local).map_err(|error| BindTunnel::Receive {
            address: config.local,
            error,
        })?;
        let senders = (0..config.flow_sockets.max(1))
            .map(|_| bind_dynamic(config.local.ip()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(BindTunnel::Send)?;
        let readiness = Readiness::new(&[receiver.as_fd()]).map_err(BindTunnel::Watch)?;
        let readiness = Arc::new(readiness);
        let lane = lane(config, &readiness).map_err(BindTunnel::Thread)?;
        let shared = Arc::new(Shared {
            receiver,
            senders,
            remote_udp_port: config.remote_udp_port,
            readiness,
            members: Members::new(),
            answers: Answers::new(),
            counters: Counters::default(),
            strangers: Strangers::new(),
        });
        let trunk = VxlanTrunk::new(Arc::clone(&shared), lane);
        Ok((Self { shared }, trunk))
    }

    /// A port for `remote` in network `vni`, which carries packets of up to `mtu` bytes ([`overlay_core::mtu::vxlan_inner`]).
    /// Give it a [`switch_core::PortConfig::mtu`] of the network's own, so that it sees, and answers, what is longer. It
    /// carries frames until it is dropped.
    pub fn port(&self, vni: Vni, remote: IpAddr, mtu: u32) -> Result<VxlanPort, AddTunnelPort> {
        let member = self.shared.members.insert((vni, remote), mtu)?;
        Ok(VxlanPort::new(
            Arc::clone(&self.shared),
            (vni, remote),
            member,
        ))
    }

    /// Changes what the port for `remote` in `vni` carries, because its underlay has changed; does nothing when there is none.
    pub fn set_mtu(&self, vni: Vni, remote: IpAddr, mtu: u32) {
        if let Some(member) = self.shared.members.find(&(vni, remote)) {
            member.set_mtu(mtu);
        }
    }

    /// Packets that the socket had no room for: more came than was read.
    pub fn unreceived(&self) -> u64 {
        self.shared.receiver.unreceived()
    }

    pub fn counts(&self) -> VxlanCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        VxlanCounts {
            malformed: load(&counters.malformed),
            unknown_vni: load(&counters.unknown_vni),
            unknown_remote: load(&counters.unknown_remote),
            congestion: load(&counters.congestion),
            too_big: load(&counters.too_big),
        }
    }
}

impl Drop for VxlanTunnel {
    fn drop(&mut self) {
        self.shared.members.end_all();
    }
}

/// The ring takes what is for one IPv4 address and the assigned port.
fn lane(config: &VxlanConfig, readiness: &Arc<Readiness>) -> io::Result<Lane> {
    match (config.local, &config.nft) {
        (SocketAddr::V4(local), Some(nft))
            if !local.ip().is_unspecified() && local.port() == VXLAN_UDP_PORT =>
        {
            Lane::with_ring(*local.ip(), nft.clone(), Arc::clone(readiness))
        }
        _ => Ok(Lane::new()),
    }
}

/// A socket on a free port of the dynamic range (RFC 6335 §6).
fn bind_dynamic(address: IpAddr) -> io::Result<TunnelSocket> {
    let first = u16::try_from(std::process::id() % u32::from(DYNAMIC_PORTS)).unwrap_or(0);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..DYNAMIC_PORTS {
        let udp_port = DYNAMIC_FIRST + (first + step) % DYNAMIC_PORTS;
        match TunnelSocket::bind(SocketAddr::new(address, udp_port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            result => return result,
        }
    }
    Err(last)
}

const DYNAMIC_FIRST: u16 = 49_152;
const DYNAMIC_PORTS: u16 = 16_383;
