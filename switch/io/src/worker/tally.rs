//! What a worker has moved, for others to read.
//!
//! # Theory of operation
//!
//! One thread writes, a worker or the one that took its place, so a count is a load and a store, and no instruction that other cores
//! wait for. Nobody else writes on these cache lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::batch::Batch;

/// Batches by their size, and the frames in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<Lines>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Lines {
    batches: [AtomicU64; Moved::CLASSES],
    frames: AtomicU64,
}

/// What one worker has moved since the switch started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Batches of up to [`Self::SIZES`] frames, and more than those of the place before.
    pub batches: [u64; Self::CLASSES],
    /// Frames that were read.
    pub frames: u64,
}

impl Moved {
    const CLASSES: usize = 6;
    /// The most frames in a batch of each class.
    pub const SIZES: [u32; Self::CLASSES] = [1, 2, 4, 8, 16, 32];
}

impl Tally {
    /// Called by the worker's thread alone, once a batch.
    #[inline]
    pub(super) fn note(&self, frames: usize) {
        let Some(class) = class(frames) else {
            return;
        };
        add(&self.0.batches[class], 1);
        add(&self.0.frames, u64::try_from(frames).unwrap_or(0));
    }

    pub(crate) fn moved(&self) -> Moved {
        Moved {
            batches: std::array::from_fn(|class| self.0.batches[class].load(Ordering::Relaxed)),
            frames: self.0.frames.load(Ordering::Relaxed),
        }
    }
}

/// `None` for no frames.
fn class(frames: usize) -> Option<usize> {
    let class = usize::BITS - frames.checked_sub(1)?.leading_zeros();
    usize::try_from(class)
        .ok()
        .map(|class| class.min(Moved::CLASSES - 1))
}

#[inline]
fn add(counter: &AtomicU64, more: u64) {
    let count = counter.load(Ordering::Relaxed);
    counter.store(count.wrapping_add(more), Ordering::Relaxed);
}

/// No batch is larger than the last class.
const _: () = assert!(Batch::LEN == 1 << (Moved::CLASSES - 1));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_the_smallest_class_that_holds_it() {
        let tally = Tally::default();
        for frames in 0..=Batch::LEN {
            tally.note(frames);
        }
        let moved = tally.moved();
        assert_eq!(moved.batches, [1, 1, 2, 4, 8, 16]);
        assert_eq!(moved.frames, (1..=32).sum::<u64>());
        for (class, size) in Moved::SIZES.into_iter().enumerate() {
            let size = usize::try_from(size).unwrap();
            assert_eq!(super::class(size), Some(class));
        }
    }
}
