//! The ports of a QUIC tunnel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use overlay_core::HostId;
use switch_core::{PortId, Vni};
use switch_io::{Capabilities, FrameBuffer, FramePort, Written};

use super::Shared;
use crate::tunnel::Member;
use crate::outlet::Outlet;

/// A remote host in one network: a port that is written, while the trunk reads for it.
#[derive(Debug)]
pub struct QuicPort {
    pub(super) shared: Arc<Shared>,
    pub(super) vni: Vni,
    pub(super) host: HostId,
    pub(super) member: Arc<Member>,
}

impl FramePort for QuicPort {
    fn read(&self, _buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        Err(self.member.read())
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        let mut engine = self.shared.lock();
        engine.send(Instant::now(), &self.host, self.vni, envelopes)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.member).as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn attached(&self, id: PortId) {
        self.member.attach(id);
    }
}

impl Drop for QuicPort {
    fn drop(&mut self) {
        self.shared.members.remove(&(self.vni, self.host.clone()));
    }
}

/// The receiving side of a tunnel; for [`switch_io::Switch::add_trunk`]. The tunnel does nothing unless it is read.
#[derive(Debug)]
pub struct QuicTrunk(pub(super) Arc<Shared>);

impl FramePort for QuicTrunk {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let shared = &*self.0;
        let mut engine = shared.lock();
        let mut outlet = Outlet::new(buffers);
        // Segments of one superframe may come one by one, so a read goes on while there are more. A flood must not hold the
        // worker.
        for _ in 0..ROUNDS {
            let has_more = engine
                .receive(Instant::now(), &shared.members, &mut outlet)
                .unwrap_or(true);
            if !has_more || engine.has_backlog() {
                break;
            }
        }
        // Stays readable while frames wait, though the socket may be empty.
        match engine.has_backlog() {
            true => shared.readiness.raise(),
            false => shared.readiness.lower(),
        }
        drop(engine);
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

/// Receives of one read.
const ROUNDS: usize = 8;
