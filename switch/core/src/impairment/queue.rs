//! Frames that wait for their time.
//!
//! # Theory of operation
//!
//! A heap of small keys over a slab of envelopes: what moves when frames are sorted is 32 bytes, whatever a frame has. A key is
//! the time of release and the number of the arrival, so frames of one time leave in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Queue {
    order: BinaryHeap<Reverse<Key>>,
    envelopes: Vec<Waiting>,
    free: Vec<u32>,
    arrivals: u64,
    frames: u64,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    due: Duration,
    arrival: u64,
    at: u32,
}

#[derive(Debug, Default)]
struct Waiting {
    envelope: Vec<u8>,
    /// Frames on the wire.
    frames: u64,
}

impl Queue {
    /// Frames on the wire that wait.
    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether an envelope of `len` bytes that is `frames` on the wire may come.
    pub(super) const fn has_room(&self, frames: u64, len: usize, limit_frames: u64) -> bool {
        self.frames + frames <= limit_frames && self.bytes + len <= BYTES_MAX
    }

    pub(super) fn push(&mut self, due: Duration, envelope: &[u8], frames: u64) {
        let Some(at) = self.place() else {
            return;
        };
        self.envelopes[at as usize] = Waiting {
            envelope: envelope.to_vec(),
            frames,
        };
        self.arrivals += 1;
        self.frames += frames;
        self.bytes += envelope.len();
        let arrival = self.arrivals;
        self.order.push(Reverse(Key { due, arrival, at }));
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.order.peek().map(|Reverse(key)| key.due)
    }

    /// The first one, with the frames that it is on the wire.
    pub(super) fn pop(&mut self) -> Option<(Vec<u8>, u64)> {
        let Reverse(key) = self.order.pop()?;
        self.free.push(key.at);
        let waiting = std::mem::take(&mut self.envelopes[key.at as usize]);
        self.frames -= waiting.frames;
        self.bytes -= waiting.envelope.len();
        Some((waiting.envelope, waiting.frames))
    }

    /// Everything is due, in the order in which it would have left.
    pub(super) fn hurry(&mut self) {
        let mut keys: Vec<_> = self.order.drain().map(|Reverse(key)| key).collect();
        keys.sort_unstable();
        self.order = keys
            .into_iter()
            .zip(1..)
            .map(|(key, arrival)| {
                Reverse(Key {
                    due: Duration::ZERO,
                    arrival,
                    at: key.at,
                })
            })
            .collect();
        self.arrivals = u64::try_from(self.order.len()).unwrap_or(u64::MAX);
    }

    fn place(&mut self) -> Option<u32> {
        if let Some(at) = self.free.pop() {
            return Some(at);
        }
        // A queue of so many envelopes would have met the bound on bytes.
        let at = u32::try_from(self.envelopes.len()).ok()?;
        self.envelopes.push(Waiting::default());
        Some(at)
    }
}

/// What may wait in one direction, in bytes: 100 ms at 5 Gbit/s.
pub(super) const BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn popped(queue: &mut Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop().map(|(envelope, _)| envelope[0])).collect()
    }

    #[test]
    fn frames_leave_by_time_and_at_one_time_by_arrival() {
        let mut queue = Queue::default();
        for (due, byte) in [(2, 1), (1, 2), (2, 3), (1, 4)] {
            queue.push(due * MS, &[byte], 1);
        }
        assert_eq!(queue.next_due(), Some(MS));
        assert_eq!(popped(&mut queue), [2, 4, 1, 3]);
        queue.push(MS, &[9; 3], 1);
        assert_eq!(queue.pop(), Some((vec![9; 3], 1)));
    }

    #[test]
    fn hurried_frames_keep_their_order_and_stay_before_later_ones() {
        let mut queue = Queue::default();
        for (due, byte) in [(3, 1), (1, 2), (2, 3)] {
            queue.push(due * MS, &[byte], 1);
        }
        queue.hurry();
        queue.push(Duration::ZERO, &[4], 1);
        assert_eq!(queue.next_due(), Some(Duration::ZERO));
        assert_eq!(popped(&mut queue), [2, 3, 1, 4]);
    }

    #[test]
    fn frames_and_bytes_are_bounded() {
        let mut queue = Queue::default();
        queue.push(MS, &[0; 1000], 40);
        assert!(queue.has_room(2, 100, 42) && !queue.has_room(3, 100, 42));
        assert!(!queue.has_room(1, BYTES_MAX, u64::MAX));
        queue.pop();
        assert!(queue.has_room(1, BYTES_MAX, 1));
        assert_eq!((queue.frames(), queue.next_due()), (0, None));
    }
}
