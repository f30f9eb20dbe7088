//! What a port wears around its device.
//!
//! # Theory of operation
//!
//! A port has at most one of each layer, but [`CAPTURES_MAX`] captures. From its station inwards:
//!
//! ```text
//! station | device | impairment | rate | link | capture, mirror | bridge
//! ```
//!
//! The impairment is the cable: whatever is beyond it sees only what came through. The link is its plug in the switch, so that nothing
//! passes while it is pulled, and frames that are on the cable then still reach the end that they go to. Captures and mirrors are in the
//! switch: they show what it got and what it sent, and therefore not what the cable did to the latter.
//!
//! The rate is the switch's: what it lets pass is what the cable gets, and a fault of the cable costs no credit that others have.
//!
//! Impairment and rate hold frames for a while, so they are devices around the device, and io_uring serves them as one that is polled. Everything
//! else is looked at by the worker that has the frame at hand, which knows what becomes of it: such a port stays as it is for io_uring.

use switch_core::PortId;

use crate::capture::{CaptureId, Recorder, Sight};
use crate::impairment::ImpairmentControl;
use crate::shaping::RateControl;

/// One thing for a port to wear.
#[derive(Clone, Debug)]
pub enum Layer {
    /// In place of the impairment that it wears, whose frames leave at once.
    Impairment(ImpairmentControl),
    /// In place of the rates that it has, whose frames leave at once.
    Rate(RateControl),
    /// Its frames are recorded, under this name.
    Capture(Recorder, String),
    /// What it receives and sends is written to this port as well.
    Mirror(PortId),
}

/// Which of its layers a port is to take off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    Impairment,
    Rate,
    Capture(CaptureId),
    Mirror,
}

/// Everything that a port wears.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outfit {
    pub(crate) impairment: Option<ImpairmentControl>,
    pub(crate) rate: Option<RateControl>,
    pub(crate) recorders: Vec<Recorder>,
    pub(crate) mirror: Option<PortId>,
}

impl Outfit {
    /// The same without a layer, and without captures that have ended.
    pub(crate) fn without(&self, kind: LayerKind) -> Self {
        let mut outfit = self.clone();
        match kind {
            LayerKind::Impairment => outfit.impairment = None,
            LayerKind::Rate => outfit.rate = None,
            LayerKind::Mirror => outfit.mirror = None,
            LayerKind::Capture(id) => outfit.recorders.retain(|worn| worn.capture() != id),
        }
        outfit.recorders.retain(|worn| !worn.has_ended());
        outfit
    }

    pub(crate) fn wears(&self, kind: LayerKind) -> bool {
        match kind {
            LayerKind::Impairment => self.impairment.is_some(),
            LayerKind::Rate => self.rate.is_some(),
            LayerKind::Mirror => self.mirror.is_some(),
            LayerKind::Capture(id) => self.recorders.iter().any(|worn| worn.capture() == id),
        }
    }

    #[inline]
    pub(crate) fn is_recorded(&self) -> bool {
        !self.recorders.is_empty()
    }

    /// Whether somebody wants to see what passes.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.mirror.is_some() || self.is_recorded()
    }

    pub(crate) fn record(&self, worker: usize, sight: &Sight<'_>) {
        for recorder in &self.recorders {
            recorder.record(worker, sight);
        }
    }
}

/// Captures that a port may wear.
pub(crate) const CAPTURES_MAX: usize = 8;
