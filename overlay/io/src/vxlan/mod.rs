//! VXLAN tunnels.
//!
//! # Theory of operation
//!
//! One socket, bound to the VXLAN port, receives for every network and remote VTEP. Datagrams come in trains (`UDP_GRO`),
//! frames of one flow in a train are joined to superframes again, and the port of a frame is that of its VNI and source address.
//! Under load of single datagrams the trunk reads a packet ring at the link instead ([`ring`]).
//!
//! Frames are cut to segments with complete checksums, each behind its own VXLAN header. They leave in trains of equal datagrams
//! (`UDP_SEGMENT`), on the thread that writes them and without a lock.
//!
//! The source port of a datagram tells the underlay's routers which flow it belongs to (RFC 7348 §5), and a train has one
//! source port. So many sockets send, with ports all over the dynamic range, and a flow always leaves by the same one
//! ([`flows`]). Nothing is read from them. They cost nothing when idle but their descriptors.
//!
//! What the path to a remote carries is measured while frames go there ([`paths`]).
//!
//! Packets longer than a port's MTU are answered like a router would, if the port knows in whose name
//! ([`VxlanPort::with_gateway`]); the answer enters the switch by the trunk, as from the gateway. TCP is told in time: the MSS
//! of both SYNs is lowered to what crosses.
//!
//! The don't-fragment bit is set (RFC 7348 §4.3) unless a port asks for something else ([`VxlanPort::with_outer`]), and ECN
//! marks go in and come out (RFC 6040).

mod answers;
mod config;
mod flows;
mod header;
mod heard;
mod line;
mod offloaded;
mod paths;
mod reader;
mod ring;
mod send;
mod train;
mod unpacking;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use overlay_core::{Df, OuterPolicy, PathFinding, VXLAN_UDP_PORT};
use switch_core::{Vni, lock};
use switch_io::Written;

use crate::outlet::Outlet;
use crate::readiness::Readiness;
use crate::socket::TunnelSocket;
use crate::strangers::Strangers;
use crate::tunnel::{AddTunnelPort, Protocol, Shared, TunnelPort, TunnelTrunk};

use self::answers::Answers;
pub use self::answers::Gateway;
pub use self::config::{BindTunnel, StandsBack, VxlanConfig};
use self::flows::FlowSockets;
pub use self::line::VxlanCounts;
use self::line::{Counters, Line};
use self::paths::Paths;
use self::reader::Reader;
use self::ring::{Host, Lane};
use self::send::{Sender, Sending};

/// VXLAN over one local address. Its ports end when it is dropped.
#[derive(Debug)]
pub struct VxlanTunnel {
    shared: Arc<Shared<Vxlan>>,
    remote_udp_port: u16,
}

/// A remote VTEP in one network.
pub type VxlanPort = TunnelPort<Vxlan>;
/// The receiving side of a VXLAN tunnel.
pub type VxlanTrunk = TunnelTrunk<Vxlan>;

/// VXLAN, as a tunnel's protocol.
#[derive(Debug)]
pub struct Vxlan {
    line: Line,
    /// The trunk's reader locks it, and who ends its ring.
    reader: Mutex<Reader>,
    /// Locked after it.
    paths: Mutex<Paths>,
}

impl Protocol for Vxlan {
    /// A VTEP is known by its address.
    type Remote = IpAddr;
    type Sender = Sender;

    fn write(port: &VxlanPort, envelopes: &[&[u8]]) -> Written {
        let tunnel = port.tunnel();
        let sending = Sending {
            line: &tunnel.protocol.line,
            readiness: &tunnel.readiness,
            sender: port.sender(),
            mtu: port.mtu(),
        };
        sending.write(envelopes)
    }

    fn receive(tunnel: &Shared<Self>, outlet: &mut Outlet<'_>) {
        let Self {
            line,
            reader,
            paths,
        } = &tunnel.protocol;
        let mut reader = lock(reader);
        tunnel.readiness.lower();
        let answers_wait = line.answers.drain(outlet);
        reader.read(line, &tunnel.ports, outlet);
        // Stays readable while something waits, though the socket may be empty.
        if answers_wait || reader.has_backlog() {
            tunnel.readiness.raise();
        }
        let heard = reader.heard();
        let has_work = line.is_called() || !heard.is_empty();
        let has_time = reader.has_time(outlet);
        if has_work || has_time && lock(paths).is_due() {
            lock(paths).tend(line, &tunnel.ports, &heard);
        }
    }

    fn left(tunnel: &Shared<Self>, vni: Vni, remote: &IpAddr) {
        lock(&tunnel.protocol.paths).leave(vni, *remote);
    }
}

impl VxlanTunnel {
    /// Binds the sockets in the network namespace of the calling thread, and makes the trunk that receives.
    pub fn bind(config: &VxlanConfig) -> Result<(Self, VxlanTrunk), BindTunnel> {
        Self::bind_again(config, None)
    }

    /// The same, but receives from a socket that was kept ([`Self::socket`]) if it is at the same place.
    pub fn bind_again(
        config: &VxlanConfig,
        kept: Option<OwnedFd>,
    ) -> Result<(Self, VxlanTrunk), BindTunnel> {
        let receiver = TunnelSocket::keep_or_bind(kept, config.local).map_err(|error| {
            BindTunnel::Receive {
                address: config.local,
                error,
            }
        })?;
        let flows =
            FlowSockets::bind(config.local.ip(), config.flow_sockets).map_err(BindTunnel::Send)?;
        let paths =
            Paths::new(config.local.ip(), config.remote_udp_port).map_err(BindTunnel::Send)?;
        let readiness = Readiness::new(&[receiver.as_fd(), paths.as_fd()]);
        let readiness = readiness.map_err(BindTunnel::Watch)?;
        let readiness = Arc::new(readiness);
        let lane = lane(config, &readiness).map_err(BindTunnel::Thread)?;
        let line = Line {
            receiver,
            flows,
            fragmented: OnceLock::new(),
            answers: Answers::new(),
            counters: Counters::default(),
            strangers: Strangers::new(),
            called: AtomicBool::new(false),
        };
        let vxlan = Vxlan {
            line,
            reader: Mutex::new(Reader::new(lane)),
            paths: Mutex::new(paths),
        };
        let shared = Shared::new(vxlan, readiness);
        let trunk = TunnelTrunk::new(&shared);
        let tunnel = Self {
            shared,
            remote_udp_port: config.remote_udp_port,
        };
        Ok((tunnel, trunk))
    }

    /// A port for `remote` in network `vni`, which carries packets of up to `mtu` bytes ([`overlay_core::mtu::vxlan_inner`]), and less
    /// while the path carries less ([`Self::path`]). Give it a [`switch_core::PortConfig::mtu`] of the network's own, so that it
    /// sees, and answers, what is longer. It carries frames until it is dropped.
    pub fn port(&self, vni: Vni, remote: IpAddr, mtu: u32) -> Result<VxlanPort, AddTunnelPort> {
        let address = SocketAddr::new(remote, self.remote_udp_port);
        let sender = Sender::new(vni, address);
        let mut port = self.shared.port(vni, remote, mtu, sender)?;
        let traffic = lock(self.paths()).limit(&self.shared.ports, (vni, remote), mtu);
        port.sender_mut().follow(traffic);
        Ok(port)
    }

    /// Changes what the port for `remote` in `vni` carries, because its underlay has changed; does nothing when there is none.
    pub fn set_mtu(&self, vni: Vni, remote: IpAddr, mtu: u32) {
        let mut paths = lock(self.paths());
        if paths.has(vni, remote) {
            paths.limit(&self.shared.ports, (vni, remote), mtu);
            self.shared.protocol.line.call();
            self.shared.readiness.raise();
        } else if let Some(entry) = self.shared.ports.find(&(vni, remote)) {
            entry.set_mtu(mtu);
        }
    }

    /// How long a packet the path to `remote` carries, on the underlay; `None` where no port leads there, or all that do have
    /// their packets fragmented.
    pub fn path(&self, remote: IpAddr) -> Option<PathFinding> {
        lock(self.paths()).finding(remote)
    }

    fn paths(&self) -> &Mutex<Paths> {
        &self.shared.protocol.paths
    }

    /// The socket that receives, for somebody who keeps it bound while nothing reads it.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        let receiver = &self.shared.protocol.line.receiver;
        receiver.as_fd().try_clone_to_owned()
    }

    /// Has the trunk read the socket alone, where the next run finds what it does not read. Whether nothing is left elsewhere;
    /// ask again until then.
    pub fn leave_ring(&self) -> bool {
        let has_left = lock(&self.shared.protocol.reader).retire();
        self.shared.readiness.raise();
        has_left
    }

    /// Undoes [`Self::leave_ring`]: no other run begins.
    pub fn use_ring(&self) {
        lock(&self.shared.protocol.reader).resume();
    }

    /// Packets that the socket had no room for: more came than was read.
    pub fn unreceived(&self) -> u64 {
        self.shared.protocol.line.receiver.unreceived()
    }

    pub fn counts(&self) -> VxlanCounts {
        self.shared.protocol.line.counters.read()
    }
}

impl Drop for VxlanTunnel {
    fn drop(&mut self) {
        self.shared.ports.end_all();
    }
}

impl VxlanPort {
    /// Answers packets that are too big in the name of `gateway`.
    #[must_use]
    pub fn with_gateway(mut self, gateway: Gateway) -> Self {
        self.sender_mut().answer_as(gateway);
        self
    }

    /// Fills in outer headers by `policy`. Binds what that needs in the network namespace of the calling thread.
    pub fn with_outer(mut self, policy: OuterPolicy) -> Result<Self, BindTunnel> {
        let Vxlan { line, paths, .. } = &self.tunnel().protocol;
        if policy.df != Df::Set {
            line.allow_fragments().map_err(BindTunnel::Send)?;
        }
        if policy.df == Df::Unset {
            lock(paths).leave(self.vni(), *self.remote());
        }
        self.sender_mut().fill_in(policy);
        Ok(self)
    }
}

/// The ring takes what is for one IPv4 address and the assigned port.
fn lane(config: &VxlanConfig, readiness: &Arc<Readiness>) -> io::Result<Lane> {
    match (config.local, &config.nft) {
        (SocketAddr::V4(local), Some(nft))
            if !local.ip().is_unspecified() && local.port() == VXLAN_UDP_PORT =>
        {
            let host = Host {
                local: *local.ip(),
                nft: nft.clone(),
                stands_back: config.stands_back,
            };
            Lane::with_ring(host, Arc::clone(readiness))
        }
        _ => Ok(Lane::new()),
    }
}
