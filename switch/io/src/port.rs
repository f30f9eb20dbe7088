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
use crate::shaping::{RateControl, Shaped};
use crate::strikes::Strikes;

/// An attached port. Its descriptor closes with the last reference.
pub(crate) struct Port {
    pub(crate) id: PortId,
    /// What workers read and write: [`Self::cable`], or what is around it.
    pub(crate) device: Arc<dyn FramePort>,
    /// [`Self::bare`], or the impairment that is around it.
    cable: Arc<dyn FramePort>,
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
    /// What rates dropped that are not worn any more.
    over_rate: AtomicU64,
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
            cable: Arc::clone(&device),
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
                over_rate: AtomicU64::new(0),
                is_down: AtomicBool::new(false),
            }),
        }
    }

    /// The same port in another outfit. Its device is this one's as long as impairment and rate are.
    pub(crate) fn dressed(&self, outfit: Outfit) -> io::Result<Self> {
        let same_cable = outfit.impairment == self.outfit.impairment;
        let cable: Arc<dyn FramePort> = match &outfit.impairment {
            _ if same_cable => Arc::clone(&self.cable),
            None => Arc::clone(&self.bare),
            Some(impairment) => Arc::new(Impaired::over(Arc::clone(&self.bare), impairment)?),
        };
        let device: Arc<dyn FramePort> = match &outfit.rate {
            _ if same_cable && outfit.rate == self.outfit.rate => Arc::clone(&self.device),
            None => Arc::clone(&cable),
            Some(rate) => Arc::new(Shaped::over(Arc::clone(&cable), rate)?),
        };
        Ok(Self {
            id: self.id,
            device,
            cable,
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

    /// Whether the other's device is in this one's, and goes on as it did.
    pub(crate) fn wraps_device_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cable, &other.device)
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

    /// Keeps what its rate has dropped, which is about to go.
    pub(crate) fn keep_dropped(&self) {
        if let Some(rate) = &self.outfit.rate {
            self.ledger
                .over_rate
                .fetch_add(rate.dropped(), Ordering::Relaxed);
        }
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
        let over_rate = self.outfit.rate.as_ref().map_or(0, RateControl::dropped);
        let before = self.ledger.over_rate.load(Ordering::Relaxed);
        sum.add(DropReason::OverRate, before + over_rate);
        sum
    }
}
