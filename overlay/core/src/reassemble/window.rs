//! Which frames are done: the window against replays.

use crate::quic_frame::FrameId;

/// The last [`Self::LEN`] frame numbers, and which of them are done. What is before them counts as done.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// `None` until the first frame.
    highest: Option<FrameId>,
    done: [u64; Self::WORDS],
}

impl Window {
    const WORDS: usize = 16;
    pub(super) const LEN: u32 = 1024;

    /// Whether a frame may still be put together.
    pub(super) fn is_open(&self, id: FrameId) -> bool {
        let Some(highest) = self.highest else {
            return true;
        };
        if id.is_after(highest) {
            return true;
        }
        let (word, bit) = Self::place(id);
        highest.0.wrapping_sub(id.0) < Self::LEN && self.done[word] & bit == 0
    }

    /// A frame has begun; the window moves so that it is inside.
    pub(super) fn see(&mut self, id: FrameId) {
        let Some(highest) = self.highest.replace(id) else {
            return;
        };
        if !id.is_after(highest) {
            self.highest = Some(highest);
            return;
        }
        let steps = id.0.wrapping_sub(highest.0).min(Self::LEN);
        for back in 0..steps {
            let (word, bit) = Self::place(FrameId(id.0.wrapping_sub(back)));
            self.done[word] &= !bit;
        }
    }

    /// A frame that was seen is done.
    pub(super) fn close(&mut self, id: FrameId) {
        // A frame that left the window counts as done already, and its place is another's.
        let is_inside = |highest: FrameId| highest.0.wrapping_sub(id.0) < Self::LEN;
        if self.highest.is_some_and(is_inside) {
            let (word, bit) = Self::place(id);
            self.done[word] |= bit;
        }
    }

    fn place(id: FrameId) -> (usize, u64) {
        let slot = id.0 % Self::LEN;
        let word = usize::try_from(slot / u64::BITS).unwrap_or(0);
        (word, 1 << (slot % u64::BITS))
    }
}

impl FrameId {
    /// Whether this number was drawn after the other; numbers wrap (RFC 1982).
    pub(super) const fn is_after(self, other: Self) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        ahead != 0 && ahead < 1 << 31
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_open_once_wherever_the_window_stands(
            start in any::<u32>(),
            steps in proptest::collection::vec(-1500..1500_i32, 1..300),
        ) {
            let mut window = Window::default();
            let mut done = HashSet::new();
            let mut highest = i64::MIN;
            let mut at = 0_i64;
            for step in steps {
                at += i64::from(step);
                let id = FrameId(start.wrapping_add_signed(i32::try_from(at).unwrap()));
                let expected = !done.contains(&at) && (highest == i64::MIN || highest - at < 1024);
                prop_assert_eq!(window.is_open(id), expected);
                if expected {
                    window.see(id);
                    window.close(id);
                    done.insert(at);
                    highest = highest.max(at);
                }
            }
        }
    }
}
