//! Receives for all the ports of a tunnel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use switch_io::{Capabilities, FrameBuffer, FramePort, Written};

use super::{Protocol, Shared};
use crate::outlet::Outlet;

/// The receiving side of a tunnel; for [`switch_io::Switch::add_trunk`]. Nothing comes in unless it is read.
#[derive(Debug)]
pub struct TunnelTrunk<P: Protocol>(Arc<Shared<P>>);

impl<P: Protocol> TunnelTrunk<P> {
    pub(crate) fn new(tunnel: &Arc<Shared<P>>) -> Self {
        Self(Arc::clone(tunnel))
    }
}

impl<P: Protocol> FramePort for TunnelTrunk<P> {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut outlet = Outlet::new(buffers);
        P::receive(&self.0, &mut outlet);
        match outlet.finish() {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        Written {
            refused: u64::try_from(envelopes.len()).unwrap_or(0),
            ..Written::default()
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.readiness.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }
}
