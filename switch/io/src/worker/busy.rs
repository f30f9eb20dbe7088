//! Which port a worker is busy with, for whoever finds that it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use switch_core::PortId;

/// Set by the worker's thread, read when that is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy(Arc<AtomicU32>);

impl Busy {
    #[inline]
    pub(super) fn with(&self, port: PortId) {
        self.0.store(port.0, Ordering::Relaxed);
    }

    /// `None`: with none in particular. No port has the number zero.
    pub(super) fn port(&self) -> Option<PortId> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            number => Some(PortId(number)),
        }
    }
}
