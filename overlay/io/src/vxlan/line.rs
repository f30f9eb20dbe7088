//! What a tunnel sends and receives with, and what it counts.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::answers::Answers;
use super::flows::FlowSockets;
use crate::socket::TunnelSocket;
use crate::strangers::Strangers;

/// Sockets, counters, and answers that wait.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) receiver: TunnelSocket,
    pub(super) flows: FlowSockets,
    /// The same for datagrams that may be fragmented; made with the first port that asks for them.
    pub(super) fragmented: OnceLock<FlowSockets>,
    pub(super) answers: Answers,
    pub(super) counters: Counters,
    pub(super) strangers: Strangers,
    /// Raised when the searches of paths are to be looked after.
    pub(super) called: AtomicBool,
}

impl Line {
    /// The sockets for datagrams that may, or may not, be fragmented.
    pub(super) fn flows(&self, df: bool) -> &FlowSockets {
        match self.fragmented.get() {
            Some(fragmented) if !df => fragmented,
            _ => &self.flows,
        }
    }

    /// Has the reader look after the searches; it is to be woken.
    pub(super) fn call(&self) {
        self.called.store(true, Ordering::Release);
    }

    pub(super) fn is_called(&self) -> bool {
        self.called.load(Ordering::Relaxed) && self.called.swap(false, Ordering::Acquire)
    }

    /// Binds the sockets for datagrams that may be fragmented, in the network namespace of the calling thread.
    pub(super) fn allow_fragments(&self) -> io::Result<()> {
        if self.fragmented.get().is_none() {
            let bound = FlowSockets::bind(self.receiver.local().ip(), self.flows.count())?;
            bound.allow_fragments()?;
            let _ = self.fragmented.set(bound);
        }
        Ok(())
    }
}

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
pub(super) struct Counters {
    pub(super) malformed: AtomicU64,
    pub(super) unknown_vni: AtomicU64,
    pub(super) unknown_remote: AtomicU64,
    pub(super) congestion: AtomicU64,
    pub(super) too_big: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> VxlanCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        VxlanCounts {
            malformed: load(&self.malformed),
            unknown_vni: load(&self.unknown_vni),
            unknown_remote: load(&self.unknown_remote),
            congestion: load(&self.congestion),
            too_big: load(&self.too_big),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
