//! That something looks like a loop.

use std::sync::atomic::{AtomicU16, Ordering};

use crate::vlan::Vid;

/// Noted by any worker, taken by one. Of several VLANs the first is kept: where there is a loop, it is seen again.
#[derive(Debug, Default)]
pub(crate) struct Suspicion(AtomicU16);

impl Suspicion {
    #[inline]
    pub(crate) fn note(&self, vlan: Option<Vid>) {
        if self.0.load(Ordering::Relaxed) == NONE {
            let place = vlan.map_or(WITHOUT_VLANS, Vid::get);
            self.0.store(place, Ordering::Relaxed);
        }
    }

    /// `None`: nothing does.
    #[inline]
    pub(crate) fn take(&self) -> Option<Option<Vid>> {
        if self.0.load(Ordering::Relaxed) == NONE {
            return None;
        }
        match self.0.swap(NONE, Ordering::Relaxed) {
            NONE => None,
            number => Some(Vid::new(number)),
        }
    }
}

/// Neither is a VLAN's number.
const NONE: u16 = 0;
const WITHOUT_VLANS: u16 = u16::MAX;
