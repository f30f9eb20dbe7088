//! A port as switch and workers share it.
//!
//! # Theory of operation
//!
//! A [`Port`] never changes. What a port wears (see [`Outfit`]) is changed by another `Port` of the same number, which the desk
//! puts into the workers' tables in place of the first; the device below, and the [`Ledger`] with what was counted, are shared
//! by both.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use switch_core::{Bridge, DropReason, PortConfig, PortCounters, PortCounts, PortId, PortKind};

use crate::frame_port::{Capabilities, FramePort};
use crate::impairment::Impaired;
use crate::outfit::Outfit;
use crate::strikes::Strikes;

/// An attached port. Its descriptor closes with the last reference.
pub(crate) struct Port {
    pub(crate) id: PortId,
    /// What workers read and write: [`Self::bare`], or what is around it.
    pub(crate) device: Arc<dyn FramePort>,
    bare: Arc<dyn FramePort>,
    pub(crate) capabilities: Capabilities,
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) config: PortConfig,
    pub(crate) outfit: Outfit,
    ledger: Arc<Ledger>,
}

/// What stays of a port whatever it wears.
struct Ledger {
    /// One set a worker, so that no two write the same cache line.
    counters: Box<[PortCounters]>,
    /// What somebody counted before at what is this port now.
    before: OnceLock<PortCounts>,
    /// What the TAP's queue had lost when it was last looked at.
    lost: AtomicU64,
    /// Workers that ended while they were busy with it.
    strikes: Strikes,
    /// Nothing passes, in either direction.
    is_down: AtomicBool,
}

impl Port {
    pub(crate) fn new(
        id: PortId,
        device: Box<dyn FramePort>,
        bridge: Arc<Bridge>,
        config: PortConfig,
        workers: usize,
    ) -> Self {
        let device: Arc<dyn FramePort> = device.into();
        Self {
            id,
            capabilities: device.capabilities(),
            bare: Arc::clone(&device),
            device,
            bridge,
            config,
            outfit: Outfit::default(),
            ledger: Arc::new(Ledger {
                counters: std::iter::repeat_with(PortCounters::new)
                    .take(workers)
                    .collect(),
                before: OnceLock::new(),
                lost: AtomicU64::new(0),
                strikes: Strikes::default(),
                is_down: AtomicBool::new(false),
            }),
        }
    }

    /// The same port in another outfit. Its device is this one's as long as the impairment is.
    pub(crate) fn dressed(&self, outfit: Outfit) -> io::Result<Self> {
        let device = match &outfit.impairment {
            _ if outfit.impairment == self.outfit.impairment => Arc::clone(&self.device),
            None => Arc::clone(&self.bare),
            Some(impairment) => Arc::new(Impaired::over(Arc::clone(&self.bare), impairment)?),
        };
        Ok(Self {
            id: self.id,
            device,
            bare: Arc::clone(&self.bare),
            capabilities: self.capabilities,
            bridge: Arc::clone(&self.bridge),
            config: self.config.clone(),
            outfit,
            ledger: Arc::clone(&self.ledger),
        })
    }

    pub(crate) fn has_device_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.device, &other.device)
    }

    pub(crate) fn counters(&self, worker: usize) -> &PortCounters {
        &self.ledger.counters[worker]
    }

    pub(crate) fn add_drops(&self, worker: usize, reason: DropReason, count: u64) {
        for _ in 0..count {
            self.counters(worker).add_drop(reason);
        }
    }

    pub(crate) fn strikes(&self) -> &Strikes {
        &self.ledger.strikes
    }

    #[inline]
    pub(crate) fn is_down(&self) -> bool {
        self.ledger.is_down.load(Ordering::Relaxed)
    }

    /// Says whether that is news.
    pub(crate) fn set_down(&self, down: bool) -> bool {
        self.ledger.is_down.swap(down, Ordering::Relaxed) != down
    }

    /// The TAP's queue has lost so many frames, in all.
    pub(crate) fn note_lost(&self, frames: u64) {
        self.ledger.lost.fetch_max(frames, Ordering::Relaxed);
    }

    /// Goes on counting from `before`. Once.
    pub(crate) fn resume(&self, mut before: PortCounts) {
        // The link counts on by itself, unless it was made anew.
        self.note_lost(std::mem::take(
            &mut before.drops[DropReason::TapFull.index()],
        ));
        let _ = self.ledger.before.set(before);
    }

    /// The sum over the workers, and what the TAP's queue lost.
    pub(crate) fn counts(&self) -> PortCounts {
        let mut sum = self.ledger.before.get().cloned().unwrap_or_default();
        for counters in &self.ledger.counters {
            sum += &counters.snapshot();
        }
        sum.add(
            DropReason::TapFull,
            self.ledger.lost.load(Ordering::Relaxed),
        );
        let unread = match self.config.kind {
            PortKind::Uplink => DropReason::UplinkFull,
            _ => DropReason::EdgeFull,
        };
        sum.add(unread, self.device.unread());
        sum
    }
}
