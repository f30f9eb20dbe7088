//! Receives for all the ports of a tunnel.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use overlay_core::VxlanHeader;
use overlay_core::ecn::{self, Ecn};
use overlay_core::mss;
use quinn_udp::RecvMeta;
use switch_core::{Coalescer, Frame, PortId, Push, VnetHeader, Vni};
use switch_io::{Capabilities, FrameBuffer, FramePort, Written};

use super::{Shared, offloaded};
use crate::intake::Intake;
use crate::members::Member;
use crate::outlet::Outlet;

/// The receiving side of a tunnel; for [`switch_io::Switch::add_trunk`].
#[derive(Debug)]
pub struct VxlanTrunk {
    shared: Arc<Shared>,
    /// Only the trunk's reader locks it.
    unpacking: Mutex<Unpacking>,
}

impl VxlanTrunk {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            unpacking: Mutex::new(Unpacking::new()),
        }
    }
}

impl FramePort for VxlanTrunk {
    /// Receives until the socket is empty or the buffers are full, so that the segments of a superframe that come one by one
    /// still become one.
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut unpacking = self
            .unpacking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut outlet = Outlet::new(buffers);
        let readiness = &self.shared.readiness;
        readiness.lower();
        if self.shared.answers.drain(&mut outlet) {
            readiness.raise();
        }
        for _ in 0..ROUNDS {
            if !unpacking.has_datagrams()
                && let Err(error) = unpacking.receive(&self.shared)
            {
                match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    _ => continue,
                }
            }
            unpacking.unpack(&self.shared, &mut outlet);
            if unpacking.has_datagrams() || unpacking.intake.is_drained() {
                break;
            }
        }
        unpacking.flush(&mut outlet);
        // Stays readable while received datagrams wait, though the socket may be empty.
        if unpacking.has_datagrams() {
            readiness.raise();
        }
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
        self.shared.readiness.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }
}

/// Trains that were received, and how far they have been unpacked.
#[derive(Debug)]
struct Unpacking {
    intake: Intake,
    /// The train being unpacked, and where in it.
    train: usize,
    at: usize,
    coalescer: Coalescer,
    /// Whose frames the coalescer holds.
    held_for: Option<PortId>,
    /// The port that the last datagram was for.
    last: Option<(Vni, SocketAddr, Arc<Member>)>,
}

impl Unpacking {
    fn new() -> Self {
        Self {
            intake: Intake::new(),
            train: 0,
            at: 0,
            coalescer: Coalescer::new(),
            held_for: None,
            last: None,
        }
    }

    fn has_datagrams(&self) -> bool {
        self.train < self.intake.count()
    }

    fn receive(&mut self, shared: &Shared) -> io::Result<()> {
        self.train = 0;
        self.at = 0;
        self.last = None;
        self.intake.receive(&shared.receiver)
    }

    /// Fills buffers with the frames of received datagrams, until there are none or no more room.
    fn unpack(&mut self, shared: &Shared, outlet: &mut Outlet<'_>) {
        while self.has_datagrams() && outlet.has_room(FRAMES) {
            let meta = self.intake.meta(self.train);
            let end = meta.len.min(self.at + meta.stride.max(1));
            self.unpack_one(shared, meta, self.at..end, outlet);
            self.at = end;
            if self.at >= meta.len {
                self.train += 1;
                self.at = 0;
            }
        }
    }

    fn unpack_one(
        &mut self,
        shared: &Shared,
        meta: RecvMeta,
        range: std::ops::Range<usize>,
        outlet: &mut Outlet<'_>,
    ) {
        let datagram = &mut self.intake.bytes_mut(self.train)[range];
        let Ok((header, _)) = VxlanHeader::parse(datagram) else {
            return count(&shared.counters.malformed);
        };
        let is_last =
            |(vni, address, _): &(Vni, SocketAddr, _)| *vni == header.vni && *address == meta.addr;
        if !self.last.as_ref().is_some_and(is_last) {
            self.last = find(shared, header.vni, meta.addr);
        }
        let Some((_, _, member)) = &self.last else {
            return;
        };
        let (Some(port), mtu) = (member.port(), member.mtu()) else {
            return count(&shared.counters.unknown_vni);
        };
        let bytes = &mut datagram[VxlanHeader::LEN..];
        let outer = meta
            .ecn
            .map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8));
        if !ecn::decapsulate(outer, bytes) {
            return count(&shared.counters.congestion);
        }
        if self.held_for != Some(port) {
            flush(&mut self.coalescer, &mut self.held_for, outlet);
            self.held_for = Some(port);
        }
        let Ok(frame) = Frame::parse(bytes) else {
            // The worker finds the same, and counts it on the port.
            return outlet.put(port, &[0; VnetHeader::LEN], bytes);
        };
        let pushed = match self.coalescer.push(&frame) {
            Push::Flush => {
                flush(&mut self.coalescer, &mut self.held_for, outlet);
                self.held_for = Some(port);
                self.coalescer.push(&frame)
            }
            pushed => pushed,
        };
        match pushed {
            Push::Taken => {}
            Push::Complete => flush(&mut self.coalescer, &mut self.held_for, outlet),
            Push::Flush | Push::Unfit => {
                flush(&mut self.coalescer, &mut self.held_for, outlet);
                let vnet = offloaded::vnet_of(&frame, mtu);
                clamp(&vnet, bytes, mtu);
                outlet.put(port, &vnet, bytes);
            }
        }
    }

    fn flush(&mut self, outlet: &mut Outlet<'_>) {
        flush(&mut self.coalescer, &mut self.held_for, outlet);
    }
}

/// Empties the coalescer.
fn flush(coalescer: &mut Coalescer, held_for: &mut Option<PortId>, outlet: &mut Outlet<'_>) {
    if let (Some((vnet, bytes)), Some(port)) = (coalescer.take(), held_for.take()) {
        outlet.put(port, &vnet.to_bytes(), bytes);
    }
}

/// Lowers the MSS of a SYN to what the network carries.
fn clamp(vnet: &[u8; VnetHeader::LEN], bytes: &mut [u8], mtu: u32) {
    let Ok(frame) = Frame::parse(bytes) else {
        return;
    };
    if let Ok(vnet) = VnetHeader::validate(vnet, &frame) {
        mss::clamp(&vnet, bytes, mtu);
    }
}

/// The port for frames of `vni` that come from `address`; counts that there is none, and tells of strangers once.
fn find(shared: &Shared, vni: Vni, address: SocketAddr) -> Option<(Vni, SocketAddr, Arc<Member>)> {
    let remote: IpAddr = address.ip();
    if let Some(member) = shared.members.find(&(vni, remote)) {
        return Some((vni, address, member));
    }
    let is_known = shared.members.any(|(known, _)| *known == vni);
    count(if is_known {
        &shared.counters.unknown_remote
    } else {
        &shared.counters.unknown_vni
    });
    let is_stranger = || !shared.members.any(|(_, known)| *known == remote);
    if shared.strangers.is_news(remote, Instant::now()) && is_stranger() {
        tracing::warn!(%address, vni = vni.value(), "VXLAN from a stranger is dropped");
    }
    None
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A datagram may end a superframe, be a frame of its own, and leave a third to the end of the read.
const FRAMES: usize = 3;
/// Receives of one read: a flood of datagrams that are for nobody must not hold the worker.
const ROUNDS: usize = 32;
