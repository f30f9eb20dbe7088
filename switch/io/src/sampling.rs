//! One frame in so many, for whoever wants to know who talks to whom.
//!
//! # Theory of operation
//!
//! A worker looks at one number a batch, and no more as long as nothing is sampled. Otherwise it counts the batch's frames down
//! ([`switch_core::Sampler`]), and of one that is taken writes down what there is to know: its first bytes as they are on the wire, what
//! it is, and what became of it. A frame that the switch dropped is told in any case.
//!
//! Each worker has a lane of its own, which holds so many and has room for them from the beginning. What finds it full is lost to the
//! sample, never to the network, and counted. The reader exchanges each lane for an empty one now and then; nobody is woken.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use switch_core::{PortId, Summary, Verdict, lock};

/// A frame that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSample {
    pub ingress: PortId,
    pub verdict: Verdict,
    pub summary: Summary,
    /// One in so many was to be taken.
    pub every: NonZeroU32,
    /// How often this one was; not at all where it is told only because it was dropped.
    pub times: u32,
    /// How many frames it is on the wire, and how many bytes those have.
    pub frames: u32,
    pub bytes: u64,
    /// Length of the first of them.
    pub len: u32,
    head: [u8; Self::HEAD_LEN_MAX],
    head_len: u8,
}

impl FlowSample {
    /// Bytes that are kept of a frame.
    pub const HEAD_LEN_MAX: usize = 128;

    /// The first bytes of the first of its frames.
    pub fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    /// How many frames it stands for.
    pub fn stands_for(&self) -> u64 {
        u64::from(self.every.get()) * u64::from(self.times)
    }

    /// A frame of which all is known but its first bytes, which are those of `wire`.
    pub(crate) fn with_head(mut self, wire: &[u8]) -> Self {
        let kept = wire.len().min(Self::HEAD_LEN_MAX);
        self.head[..kept].copy_from_slice(&wire[..kept]);
        self.head_len = u8::try_from(kept).unwrap_or(0);
        self.len = u32::try_from(wire.len()).unwrap_or(u32::MAX);
        self
    }

    pub(crate) const fn new(
        (ingress, verdict, summary): (PortId, Verdict, Summary),
        (every, times): (NonZeroU32, u32),
        (frames, bytes): (u32, u64),
    ) -> Self {
        Self {
            ingress,
            verdict,
            summary,
            every,
            times,
            frames,
            bytes,
            len: 0,
            head: [0; Self::HEAD_LEN_MAX],
            head_len: 0,
        }
    }
}

/// What a reader took. May be reused, which saves memory.
#[derive(Debug, Default)]
pub struct FlowSamples {
    lanes: Vec<Vec<FlowSample>>,
    /// Samples that found no room since the last time.
    pub lost: u64,
}

impl FlowSamples {
    /// In the order in which each worker took them.
    pub fn iter(&self) -> impl Iterator<Item = &FlowSample> {
        self.lanes.iter().flatten()
    }
}

/// What is sampled, as workers and the switch's owner share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampling(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Zero: nothing is.
    every: AtomicU32,
    /// By worker; those beyond share.
    lanes: [Mutex<Lane>; LANES],
}

#[derive(Debug, Default)]
struct Lane {
    samples: Vec<FlowSample>,
    lost: u64,
}

impl Sampling {
    /// One frame in how many is taken now.
    #[inline]
    pub(crate) fn every(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.0.every.load(Ordering::Relaxed))
    }

    /// From now on, one in so many; or none, and what waits is gone.
    pub(crate) fn set(&self, every: Option<NonZeroU32>) {
        let number = every.map_or(0, NonZeroU32::get);
        if number == 0 {
            self.0.every.store(0, Ordering::Relaxed);
        }
        for lane in &self.0.lanes {
            let mut lane = lock(lane);
            match number {
                0 => *lane = Lane::default(),
                _ if lane.samples.capacity() == 0 => lane.samples.reserve_exact(LANE_LEN),
                _ => {}
            }
        }
        self.0.every.store(number, Ordering::Relaxed);
    }

    /// Writes down a sample of `worker`, where there is room.
    pub(crate) fn put(&self, worker: usize, sample: impl FnOnce() -> Option<FlowSample>) {
        let mut lane = lock(&self.0.lanes[worker % LANES]);
        // Room was made before; a worker makes none.
        if lane.samples.len() < lane.samples.capacity().min(LANE_LEN) {
            lane.samples.extend(sample());
        } else {
            lane.lost += 1;
        }
    }

    /// Takes what was sampled since the last time, in place of what `samples` held.
    pub(crate) fn take(&self, samples: &mut FlowSamples) {
        samples.lost = 0;
        samples.lanes.resize_with(LANES, Vec::new);
        for (own, lane) in samples.lanes.iter_mut().zip(&self.0.lanes) {
            own.clear();
            let mut lane = lock(lane);
            samples.lost += std::mem::take(&mut lane.lost);
            if lane.samples.is_empty() {
                continue;
            }
            own.reserve_exact(LANE_LEN);
            std::mem::swap(&mut lane.samples, own);
        }
    }
}

const LANES: usize = 8;
/// So many between two looks of the reader are as many as are of use.
const LANE_LEN: usize = 2048;

#[cfg(test)]
mod tests {
    use switch_core::{DropReason, Frame};

    use super::*;

    fn sample(n: u32) -> Option<FlowSample> {
        let bytes = [&[2; 6][..], &[4; 6], &[8, 0], &[0; 186]].concat();
        let summary = Summary::of(&Frame::parse(&bytes).unwrap());
        let verdict = Verdict::Drop(DropReason::Fault);
        let every = (NonZeroU32::MIN, 1);
        let sample = FlowSample::new((PortId(n), verdict, summary), every, (1, 200));
        Some(sample.with_head(&bytes))
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted_until_somebody_reads() {
        let sampling = Sampling::default();
        let mut samples = FlowSamples::default();
        sampling.set(NonZeroU32::new(7));
        assert_eq!(sampling.every(), NonZeroU32::new(7));
        for _ in 0..2 {
            for n in 0..2050 {
                sampling.put(1, || sample(n));
            }
            sampling.put(2, || sample(9000));
            sampling.take(&mut samples);
            let ports: Vec<_> = samples.iter().map(|sample| sample.ingress.0).collect();
            assert_eq!((ports.len(), ports[2047], ports[2048]), (2049, 2047, 9000));
            assert_eq!(samples.lost, 2);
        }
        sampling.take(&mut samples);
        assert_eq!((samples.iter().count(), samples.lost), (0, 0));
    }

    #[test]
    fn nothing_is_written_down_where_nothing_is_sampled() {
        let sampling = Sampling::default();
        sampling.set(NonZeroU32::new(7));
        sampling.put(0, || sample(1));
        sampling.set(None);
        sampling.put(0, || unreachable!("there is no room"));
        let mut samples = FlowSamples::default();
        sampling.take(&mut samples);
        assert_eq!((samples.iter().count(), sampling.every()), (0, None));
    }

    #[test]
    fn the_head_of_a_frame_is_kept() {
        let sample = sample(3).unwrap();
        assert_eq!((sample.len, sample.head().len()), (200, 128));
        assert_eq!(
            sample.head()[..14],
            [2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 0]
        );
        assert_eq!(sample.stands_for(), 1);
    }
}
