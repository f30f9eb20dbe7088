//! Whether frames went to a remote.

use std::sync::atomic::{AtomicBool, Ordering};

/// Raised by the first frames since it was lowered.
#[derive(Debug, Default)]
pub(in crate::vxlan) struct Traffic(AtomicBool);

impl Traffic {
    /// Frames go; whether these are the first. Costs a load otherwise.
    #[inline]
    pub(in crate::vxlan) fn begins(&self) -> bool {
        !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
