//! A port as switch and workers share it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use switch_core::{Bridge, DropReason, PortConfig, PortCounters, PortCounts, PortId};

use crate::frame_port::{Capabilities, FramePort};
use crate::strikes::Strikes;

/// An attached port. Its descriptor closes with the last reference.
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) device: Box<dyn FramePort>,
    pub(crate) capabilities: Capabilities,
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) config: PortConfig,
    /// One set a worker, so that no two write the same cache line.
    counters: Box<[PortCounters]>,
    /// What somebody counted before at what is this port now.
    before: OnceLock<PortCounts>,
    /// What the TAP's queue had lost when it was last looked at.
    lost: AtomicU64,
    /// Workers that ended while they were busy with it.
    pub(crate) strikes: Strikes,
}

impl Port {
    pub(crate) fn new(
        id: PortId,
        device: Box<dyn FramePort>,
        bridge: Arc<Bridge>,
        config: PortConfig,
        workers: usize,
    ) -> Self {
        Self {
            id,
            capabilities: device.capabilities(),
            device,
            bridge,
            config,
            counters: std::iter::repeat_with(PortCounters::new)
                .take(workers)
                .collect(),
            before: OnceLock::new(),
            lost: AtomicU64::new(0),
            strikes: Strikes::default(),
        }
    }

    pub(crate) fn counters(&self, worker: usize) -> &PortCounters {
        &self.counters[worker]
    }

    pub(crate) fn add_drops(&self, worker: usize, reason: DropReason, count: u64) {
        for _ in 0..count {
            self.counters(worker).add_drop(reason);
        }
    }

    /// The TAP's queue has lost so many frames, in all.
    pub(crate) fn note_lost(&self, frames: u64) {
        self.lost.fetch_max(frames, Ordering::Relaxed);
    }

    /// Goes on counting from `before`. Once.
    pub(crate) fn resume(&self, mut before: PortCounts) {
        // The link counts on by itself, unless it was made anew.
        self.note_lost(std::mem::take(
            &mut before.drops[DropReason::TapFull.index()],
        ));
        let _ = self.before.set(before);
    }

    /// The sum over the workers, and what the TAP's queue lost.
    pub(crate) fn counts(&self) -> PortCounts {
        let mut sum = self.before.get().cloned().unwrap_or_default();
        for counters in &self.counters {
            sum += &counters.snapshot();
        }
        sum.add(DropReason::TapFull, self.lost.load(Ordering::Relaxed));
        sum.add(DropReason::EdgeFull, self.device.unread());
        sum
    }
}
