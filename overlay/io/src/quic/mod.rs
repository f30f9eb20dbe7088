//! QUIC tunnels.
//!
//! # Theory of operation
//!
//! Frames of all networks cross between two hosts in the datagrams (RFC 9221) of one connection, over one UDP port for all
//! peers. The host with the lower name dials. Superframes cross in equal pieces, so that they leave in trains
//! (`UDP_SEGMENT`), and become superframes again. Checksums inside are not computed, since the seal covers the frame. TCP's
//! pieces are segments and go on at once ([`overlay_core::Run`]). The MSS of SYNs is lowered so that segments fit a datagram.
//!
//! All of a tunnel is behind one lock. The worker that reads takes it once a batch, and so do the workers that write. With one
//! worker it is always free. Where several have much to do, a host can run a tunnel for each worker.

mod connection_ids;
mod early;
mod engine;
mod events;
mod identity;
mod letters;
mod link;
mod passage;
mod path;
mod peers;
mod place;
mod receive;
mod refusal;
mod relay;
mod relays;
mod sealing;
mod send;
mod succession;
mod transport;
mod view;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use overlay_core::{Epoch, Hello, HostId, PeerCounts, ReassembleCounts, Timing};
use switch_core::{Vni, lock};
use switch_io::Written;

use self::engine::{Engine, EngineParts};
use self::events::Events;
use self::identity::Tls;
use self::passage::Passage;
use crate::clock::Alarm;
use crate::outlet::Outlet;
use crate::readiness::Readiness;
use crate::socket::TunnelSocket;
use crate::tunnel::{AddTunnelPort, Protocol, Shared, TunnelPort, TunnelTrunk};

pub use self::connection_ids::Mark;
pub use self::engine::QuicCounts;
pub use self::events::{Letter, QuicEvent};
pub use self::identity::{Credentials, UseCredentials};
pub use self::succession::Heritage;
pub use self::view::{PathView, PeerView};

/// How a QUIC tunnel runs.
#[derive(Debug)]
pub struct QuicConfig {
    /// Where datagrams are sent and received; the address may be unspecified.
    pub local: SocketAddr,
    /// This host, as its certificate names it.
    pub host: HostId,
    /// This life of the host.
    pub epoch: Epoch,
    pub credentials: Credentials,
    /// Secret of this host that outlives restarts, so that peers learn of one at once.
    pub reset_key: [u8; 32],
    /// Longest UDP payload that is tried, in bytes: the underlay's MTU less 28, or 48 over IPv6.
    pub udp_payload_max: u16,
    pub timing: Timing,
    /// Differs between hosts; spreads their redials.
    pub seed: u64,
    /// Whether hosts that do not reach each other may go through this one.
    pub relays: bool,
}

/// Why a tunnel did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartQuic {
    #[error("cannot use UDP {address}: {error}")]
    Bind {
        address: SocketAddr,
        #[source]
        error: io::Error,
    },
    #[error(transparent)]
    Credentials(#[from] UseCredentials),
    #[error("the tunnel cannot be watched: {0}")]
    Watch(#[source] io::Error),
}

/// Why a tunnel stays where it was.
#[derive(Debug, thiserror::Error)]
pub enum RebindQuic {
    #[error("cannot use UDP {address}: {error}")]
    Bind {
        address: SocketAddr,
        #[source]
        error: io::Error,
    },
    #[error("the new socket cannot be watched: {0}")]
    Watch(#[source] io::Error),
}

/// Connections to the hosts of a cluster. Dropping it closes them and ends its ports.
#[derive(Debug)]
pub struct QuicTunnel {
    shared: Arc<Shared<Quic>>,
    events: Events,
}

/// A remote host in one network; it takes frames while the host is connected.
pub type QuicPort = TunnelPort<Quic>;
/// The receiving side of a QUIC tunnel.
pub type QuicTrunk = TunnelTrunk<Quic>;

/// QUIC, as a tunnel's protocol.
pub struct Quic(Mutex<Engine>);

impl Protocol for Quic {
    /// A host is known by its name.
    type Remote = HostId;
    /// Connections are the engine's.
    type Sender = ();

    fn write(port: &QuicPort, envelopes: &[&[u8]]) -> Written {
        let mut engine = port.tunnel().protocol.engine();
        engine.send(Instant::now(), port.remote(), port.vni(), envelopes)
    }

    fn receive(tunnel: &Shared<Self>, outlet: &mut Outlet<'_>) {
        let mut engine = tunnel.protocol.engine();
        engine.read(&tunnel.ports, outlet);
        succession::inherit(tunnel, &mut engine);
        // Stays readable while frames wait, though the socket may be empty.
        match engine.has_backlog() {
            true => tunnel.readiness.raise(),
            false => tunnel.readiness.lower(),
        }
    }
}

impl Quic {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        lock(&self.0)
    }
}

impl std::fmt::Debug for Quic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quic").finish_non_exhaustive()
    }
}

impl QuicTunnel {
    /// Binds the socket in the network namespace of the calling thread, and makes the trunk that receives.
    pub fn start(config: QuicConfig) -> Result<(Self, QuicTrunk), StartQuic> {
        Self::start_again(config, None)
    }

    /// The same, but over a socket that was kept ([`Self::socket`]) if it is at the same place. With the same reset key,
    /// peers whose packets wait there learn from the answer that their connections are gone.
    pub fn start_again(
        config: QuicConfig,
        kept: Option<OwnedFd>,
    ) -> Result<(Self, QuicTrunk), StartQuic> {
        let socket = Self::bind(config.local, kept)?;
        Self::open(config, socket, (Mark::default(), None))
    }

    fn bind(local: SocketAddr, kept: Option<OwnedFd>) -> Result<TunnelSocket, StartQuic> {
        TunnelSocket::keep_or_bind(kept, local).map_err(|error| StartQuic::Bind {
            address: local,
            error,
        })
    }

    /// With a predecessor, it receives from that, and stands by.
    fn open(
        config: QuicConfig,
        socket: TunnelSocket,
        (mark, predecessor): (Mark, Option<Passage>),
    ) -> Result<(Self, QuicTrunk), StartQuic> {
        let tls = Tls::new(config.credentials)?;
        let alarm = Alarm::new().map_err(StartQuic::Watch)?;
        let source = predecessor.as_ref().map_or(socket.as_fd(), Passage::as_fd);
        let readiness = Readiness::new(&[source, alarm.as_fd()]).map_err(StartQuic::Watch)?;
        let events = Events::default();
        let (endpoint, ids) = transport::endpoint(&config.reset_key, mark);
        let engine = Engine::new(EngineParts {
            socket,
            tls,
            udp_payload_max: config.udp_payload_max,
            endpoint,
            ids,
            predecessor,
            hello: Hello::new(config.host, config.epoch).relaying(config.relays),
            timing: config.timing,
            seed: config.seed,
            alarm,
            events: events.clone(),
        });
        let shared = Shared::new(Quic(Mutex::new(engine)), Arc::new(readiness));
        let trunk = TunnelTrunk::new(&shared);
        Ok((Self { shared, events }, trunk))
    }

    /// Takes connections of `host`, which is at `address`, and dials it while it is needed ([`Self::need`]). Called again, it
    /// takes up a new address, or a host that had been closed.
    pub fn expect(&self, host: &HostId, address: SocketAddr) {
        self.engine().expect(Instant::now(), host, address);
    }

    /// Keeps connections to those hosts, as far as they are expected, and lets those to others end after a while. The host
    /// whose turn it is dials at once.
    pub fn need(&self, hosts: BTreeSet<HostId>) {
        self.engine().need(Instant::now(), hosts);
    }

    /// Expects `host` at `address`, and needs it too.
    pub fn connect(&self, host: &HostId, address: SocketAddr) {
        let (mut engine, now) = (self.engine(), Instant::now());
        let mut needed = engine.needed.clone();
        if needed.insert(host.clone()) {
            engine.need(now, needed);
        }
        engine.expect(now, host, address);
    }

    /// Of hosts that relay, these come first.
    pub fn prefer_relays(&self, managers: BTreeSet<HostId>) {
        self.engine().relays.managers = managers;
    }

    /// A port for `host` in network `vni`, whose packets have up to `mtu` bytes. It carries frames until it is dropped, while
    /// the host is connected.
    pub fn port(&self, vni: Vni, host: &HostId, mtu: u32) -> Result<QuicPort, AddTunnelPort> {
        self.shared.port(vni, host.clone(), mtu, ())
    }

    /// Ends the connection to a host whose certificate has expired or was revoked, and takes no other until
    /// [`Self::expect`].
    pub fn close_peer(&self, host: &HostId) {
        self.engine().revoke(Instant::now(), host);
    }

    /// Ends the connection and forgets the host.
    pub fn remove_peer(&self, host: &HostId) {
        self.engine().forget(Instant::now(), host);
    }

    /// Connections from now on use these credentials; those that are up stay up.
    pub fn renew(&self, credentials: Credentials) -> Result<(), UseCredentials> {
        let tls = Tls::new(credentials)?;
        self.engine().renew(tls);
        Ok(())
    }

    /// Goes on from another address, in the network namespace of the calling thread. Connections that this host dialed
    /// move with it; the others are dialed anew by their hosts.
    pub fn rebind(&self, local: SocketAddr) -> Result<(), RebindQuic> {
        let socket = TunnelSocket::bind(local).map_err(|error| RebindQuic::Bind {
            address: local,
            error,
        })?;
        let mut engine = self.engine();
        self.shared
            .readiness
            .replace(engine.socket.as_fd(), socket.as_fd())
            .map_err(RebindQuic::Watch)?;
        engine.rebind(Instant::now(), socket);
        Ok(())
    }

    /// The socket, for somebody who keeps it bound while nothing reads it. [`Self::rebind`] makes another one.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        self.engine().socket.as_fd().try_clone_to_owned()
    }

    /// Events from now on; each receiver gets all of them.
    pub fn events(&self) -> Receiver<QuicEvent> {
        self.events.subscribe()
    }

    /// Letters from now on; whoever read them before gets none any more.
    pub fn letters(&self) -> Receiver<Letter> {
        self.engine().letters.read()
    }

    /// Writes to the agent of `host`: up to [`overlay_core::LETTER_LEN_MAX`] bytes. False where that host is not connected, or does not
    /// read letters. A letter that was sent may still be lost.
    pub fn send_letter(&self, host: &HostId, body: &[u8]) -> bool {
        self.engine().send_letter(Instant::now(), host, body)
    }

    /// Where the socket is bound.
    pub fn local_address(&self) -> SocketAddr {
        self.engine().socket.local()
    }

    /// Whether frames to `host` may flow.
    pub fn is_up(&self, host: &HostId) -> bool {
        let engine = self.engine();
        engine
            .peers
            .get(host)
            .is_some_and(|remote| remote.machine.is_up())
    }

    /// Packets that the socket had no room for: more came than was read.
    pub fn unreceived(&self) -> u64 {
        self.engine().socket.unreceived()
    }

    pub fn counts(&self) -> QuicCounts {
        self.engine().counts
    }

    /// What is known of a host; `None` for one that no connection is kept to.
    pub fn peer(&self, host: &HostId) -> Option<PeerView> {
        self.engine().peer_view(host)
    }

    /// `None` for a host that is not known.
    pub fn peer_counts(&self, host: &HostId) -> Option<(PeerCounts, ReassembleCounts)> {
        self.engine().peer_counts(host)
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.shared.protocol.engine()
    }
}

impl Drop for QuicTunnel {
    fn drop(&mut self) {
        self.engine().close_all(Instant::now());
        self.shared.ports.end_all();
    }
}
