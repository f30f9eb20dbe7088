//! A remote host in one network.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use switch_core::{PortId, Vni};
use switch_io::{Capabilities, FrameBuffer, FramePort, Written};

use super::{PortEntry, Protocol, Shared};

/// A port that is written, while the trunk reads for it. It carries frames until it is dropped.
#[derive(Debug)]
pub struct TunnelPort<P: Protocol> {
    pub(super) tunnel: Arc<Shared<P>>,
    pub(super) key: (Vni, P::Remote),
    pub(super) entry: Arc<PortEntry>,
    pub(super) sender: P::Sender,
}

impl<P: Protocol> TunnelPort<P> {
    pub(crate) fn tunnel(&self) -> &Shared<P> {
        &self.tunnel
    }

    pub(crate) fn vni(&self) -> Vni {
        self.key.0
    }

    pub(crate) fn remote(&self) -> &P::Remote {
        &self.key.1
    }

    /// Longest packet of the port, in bytes.
    pub(crate) fn mtu(&self) -> u32 {
        self.entry.mtu()
    }

    pub(crate) fn sender(&self) -> &P::Sender {
        &self.sender
    }

    pub(crate) fn sender_mut(&mut self) -> &mut P::Sender {
        &mut self.sender
    }
}

impl<P: Protocol> FramePort for TunnelPort<P> {
    /// Nothing while the tunnel lives.
    fn read(&self, _buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        Err(self.entry.read())
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        P::write(self, envelopes)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.entry).as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn attached(&self, id: PortId) {
        self.entry.attach(id);
    }
}

impl<P: Protocol> Drop for TunnelPort<P> {
    fn drop(&mut self) {
        P::left(&self.tunnel, self.key.0, &self.key.1);
        self.tunnel.ports.remove(&self.key);
    }
}
