//! What tunnels of either kind have in common: their ports and their trunk.
//!
//! # Theory of operation
//!
//! A tunnel has one *trunk*, which is only read: it receives for every network and every remote host, and books each frame on
//! the port that it came from. A *port* is one remote host in one network, and is only written. A frame of a network or a host
//! that no port stands for is dropped and counted.
//!
//! A [`Protocol`] says how a remote host is known, how frames leave and how they come in. It is a type, so nothing on a
//! frame's way is looked up for it.

mod port;
mod ports;
mod trunk;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use switch_core::Vni;
use switch_io::Written;

use crate::outlet::Outlet;
use crate::readiness::Readiness;

pub use self::port::TunnelPort;
pub use self::ports::AddTunnelPort;
pub(crate) use self::ports::{PortEntry, Ports, Recent};
pub use self::trunk::TunnelTrunk;

/// How a kind of tunnel carries frames.
pub trait Protocol: fmt::Debug + Send + Sync + Sized + 'static {
    /// What a remote host is known by.
    type Remote: Clone + Eq + Hash + fmt::Debug + Send + Sync;
    /// What a port has to itself in order to send.
    type Sender: fmt::Debug + Send + Sync;

    /// Sends frames to the port's host.
    fn write(port: &TunnelPort<Self>, envelopes: &[&[u8]]) -> Written;

    /// Puts the frames that came into `outlet`. Sees to it that the tunnel stays readable while frames wait for room.
    fn receive(tunnel: &Shared<Self>, outlet: &mut Outlet<'_>);

    /// A port goes.
    fn left(_tunnel: &Shared<Self>, _vni: Vni, _remote: &Self::Remote) {}
}

/// What tunnel, trunk and ports share.
#[derive(Debug)]
pub struct Shared<P: Protocol> {
    pub(crate) protocol: P,
    pub(crate) ports: Ports<(Vni, P::Remote)>,
    pub(crate) readiness: Arc<Readiness>,
}

impl<P: Protocol> Shared<P> {
    pub(crate) fn new(protocol: P, readiness: Arc<Readiness>) -> Arc<Self> {
        Arc::new(Self {
            protocol,
            ports: Ports::new(),
            readiness,
        })
    }

    /// A port for `remote` in network `vni`, whose packets have up to `mtu` bytes.
    pub(crate) fn port(
        self: &Arc<Self>,
        vni: Vni,
        remote: P::Remote,
        mtu: u32,
        sender: P::Sender,
    ) -> Result<TunnelPort<P>, AddTunnelPort> {
        let key = (vni, remote);
        let entry = self.ports.insert(key.clone(), mtu)?;
        Ok(TunnelPort {
            tunnel: Arc::clone(self),
            key,
            entry,
            sender,
        })
    }
}
