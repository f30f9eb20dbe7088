//! One direction of a link.

use std::time::Duration;

use super::chance::{Correlated, Numbers, Use};
use super::loss::LossState;
use super::queue::Queue;
use super::settings::Impairment;
use super::slot::Slots;
use crate::bucket::{Bucket, on_wire};
use crate::envelope::{Envelope, corrupt};

/// Takes envelopes in and gives them out when it is time. Times are durations on the caller's monotonic clock.
#[derive(Debug)]
pub struct Line {
    impairment: Impairment,
    /// Nothing is set.
    is_idle: bool,
    limit_frames: u64,
    fates: Fates,
    bucket: Bucket,
    slots: Slots,
    queue: Queue,
    counts: LineCounts,
    /// Where frames are cut and corrupted.
    room: Vec<u8>,
    spoilt: Vec<u8>,
}

/// Frames of the wire that met an impairment, since the line was made.
///
/// `frames + duplicated = sent + lost + overflowed`, and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// That came in.
    pub frames: u64,
    /// That were given out.
    pub sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub corrupted: u64,
    /// That overtook others.
    pub reordered: u64,
    /// That had to wait.
    pub delayed: u64,
    /// Lost because too many waited.
    pub overflowed: u64,
}

/// What became of an envelope, in frames of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub queued: u64,
    pub lost: u64,
    pub overflowed: u64,
}

/// What is decided about frames by chance, and where that has come to.
#[derive(Clone, Copy, Debug)]
struct Fates {
    numbers: Numbers,
    /// Frames so far.
    number: u64,
    loss: LossState,
    duplicate: Correlated,
    corrupt: Correlated,
    reorder: Correlated,
    jitter: Correlated,
    /// Frames since one that overtook.
    since_reorder: u32,
}

impl Line {
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            limit_frames: impairment.limit_frames(),
            is_idle: impairment.is_none(),
            impairment,
            fates: Fates::new(seed),
            bucket: Bucket::default(),
            slots: Slots::default(),
            queue: Queue::default(),
            counts: LineCounts::default(),
            room: Vec::new(),
            spoilt: Vec::new(),
        }
    }

    /// From now on it is `impairment`, and the next frame is the first of `seed`. Frames that wait keep their time; where the new
    /// settings have other times, they leave at once, in their order, before any that come.
    pub fn set(&mut self, impairment: Impairment, seed: u64) {
        if !self.impairment.has_times_of(&impairment) {
            self.queue.hurry();
            self.bucket = Bucket::default();
            self.slots = Slots::default();
        }
        self.limit_frames = impairment.limit_frames();
        self.is_idle = impairment.is_none();
        self.impairment = impairment;
        self.fates = Fates::new(seed);
    }

    pub const fn impairment(&self) -> &Impairment {
        &self.impairment
    }

    pub const fn counts(&self) -> LineCounts {
        self.counts
    }

    /// Frames of the wire that wait.
    pub const fn waiting(&self) -> u64 {
        self.queue.frames()
    }

    /// Whether an envelope leaves as it came, because nothing is set and nothing waits. If so it has left.
    pub fn pass(&mut self, envelope: &[u8]) -> bool {
        if !self.is_idle || self.queue.frames() > 0 {
            return false;
        }
        let frames = Envelope::of(envelope).frames();
        self.counts.frames += frames;
        self.counts.sent += frames;
        self.fates.skip(frames);
        true
    }

    /// Takes an envelope in at `now`, which is not earlier than that of any call before.
    pub fn push(&mut self, now: Duration, envelope: &[u8]) -> Taken {
        let envelope = Envelope::of(envelope);
        self.counts.frames += envelope.frames();
        if envelope.frames() == 1 || self.takes_whole(&envelope) {
            return self.admit(
                now,
                envelope.bytes(),
                envelope.frames(),
                envelope.wire_bytes(),
            );
        }
        let mut taken = Taken::default();
        let mut room = std::mem::take(&mut self.room);
        envelope.cut(&mut room, |frame| {
            let bytes = Envelope::of(frame).wire_bytes();
            taken += self.admit(now, frame, 1, bytes);
        });
        self.room = room;
        taken
    }

    /// The next envelope whose time has come.
    pub fn pop(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next_release()? > now {
            return None;
        }
        let (envelope, frames) = self.queue.pop()?;
        self.counts.sent += frames;
        if let Some(slot) = &self.impairment.slot {
            let bytes = Envelope::of(&envelope).wire_bytes();
            self.slots.take(slot, now, bytes, self.fates.numbers);
        }
        Some(envelope)
    }

    /// When [`Self::pop`] will have something.
    pub fn next_release(&mut self) -> Option<Duration> {
        let due = self.queue.next_due()?;
        Some(match &self.impairment.slot {
            Some(slot) => self.slots.admits_at(slot, due, self.fates.numbers).max(due),
            None => due,
        })
    }

    fn takes_whole(&self, envelope: &Envelope<'_>) -> bool {
        let is_quick = |rate| on_wire(envelope.wire_bytes(), rate) <= WHOLE_MAX;
        !self.impairment.concerns_single_frames()
            && self.impairment.rate_bits_s.is_none_or(is_quick)
    }

    /// Decides about `envelope`, which is so many frames and bytes on the wire: one, where anything is left to chance.
    fn admit(&mut self, now: Duration, envelope: &[u8], frames: u64, bytes: u64) -> Taken {
        let fate = self.fates.next(&self.impairment, frames);
        let mut taken = Taken::default();
        if fate.is_lost {
            self.counts.lost += frames;
            taken.lost = frames;
            return taken;
        }
        let mut spoilt = std::mem::take(&mut self.spoilt);
        let envelope = match fate.corrupt_bit {
            Some(bit) => {
                spoilt.clear();
                spoilt.extend_from_slice(envelope);
                corrupt(&mut spoilt, |bits| bit.pick(bits));
                self.counts.corrupted += frames;
                &spoilt
            }
            None => envelope,
        };
        let copies = if fate.is_double { 2 } else { 1 };
        self.counts.duplicated += (copies - 1) * frames;
        self.counts.reordered += if fate.overtakes { frames } else { 0 };
        for _ in 0..copies {
            if !self
                .queue
                .has_room(frames, envelope.len(), self.limit_frames)
            {
                self.counts.overflowed += frames;
                taken.overflowed += frames;
                continue;
            }
            let due = self.due(now, &fate, bytes);
            self.counts.delayed += if due > now { frames } else { 0 };
            taken.queued += frames;
            self.queue.push(due, envelope, frames);
        }
        self.spoilt = spoilt;
        taken
    }

    fn due(&mut self, now: Duration, fate: &Fate, bytes: u64) -> Duration {
        let Impairment {
            rate_bits_s,
            burst_bytes,
            ..
        } = self.impairment;
        let rate = rate_bits_s.filter(|rate| *rate > 0);
        if fate.overtakes {
            if let Some(rate) = rate {
                self.bucket.charge(now, bytes, rate);
            }
            return now;
        }
        let ready = now.saturating_add(fate.delay);
        match rate {
            Some(rate) => self.bucket.send(ready, bytes, rate, burst_bytes),
            None => ready,
        }
    }
}

/// What chance has in store for a frame.
#[derive(Clone, Copy, Debug)]
struct Fate {
    is_lost: bool,
    is_double: bool,
    corrupt_bit: Option<Bit>,
    overtakes: bool,
    delay: Duration,
}

/// Which bit of frame `n` is turned over.
#[derive(Clone, Copy, Debug)]
struct Bit {
    numbers: Numbers,
    n: u64,
}

impl Bit {
    fn pick(self, bits: usize) -> usize {
        self.numbers.below(self.n, Use::CorruptBit, bits)
    }
}

impl Fates {
    fn new(seed: u64) -> Self {
        Self {
            numbers: Numbers::new(seed),
            number: 0,
            loss: LossState::default(),
            duplicate: Correlated::default(),
            corrupt: Correlated::default(),
            reorder: Correlated::default(),
            jitter: Correlated::default(),
            since_reorder: 0,
        }
    }

    /// Frames that have none.
    const fn skip(&mut self, frames: u64) {
        self.number += frames;
    }

    /// The fate of the next frame. Every draw is made, so that none depends on another's outcome.
    fn next(&mut self, impairment: &Impairment, frames: u64) -> Fate {
        let (numbers, n) = (self.numbers, self.number);
        self.number += frames;
        let is_lost = self.loss.loses(&impairment.loss, numbers, n);
        let is_double = self
            .duplicate
            .happens(numbers, n, Use::Duplicate, impairment.duplicate);
        let is_corrupt = self
            .corrupt
            .happens(numbers, n, Use::Corrupt, impairment.corrupt);
        let overtakes = self.overtakes(impairment, n);
        Fate {
            is_lost,
            is_double,
            corrupt_bit: is_corrupt.then_some(Bit { numbers, n }),
            overtakes,
            delay: self.delay(impairment, n),
        }
    }

    /// One of `gap` frames may, if chance has it so.
    fn overtakes(&mut self, impairment: &Impairment, n: u64) -> bool {
        let (numbers, chance) = (self.numbers, impairment.reorder);
        let would = self.reorder.happens(numbers, n, Use::Reorder, chance);
        let may = self.since_reorder + 1 >= impairment.gap.max(1);
        let overtakes = would && may && !impairment.delay.is_zero();
        self.since_reorder = if overtakes {
            0
        } else {
            self.since_reorder.saturating_add(1)
        };
        overtakes
    }

    fn delay(&mut self, impairment: &Impairment, n: u64) -> Duration {
        let Impairment { delay, jitter, .. } = *impairment;
        if jitter.is_zero() {
            return delay;
        }
        let correlation = impairment.jitter_correlation;
        let unit = self.jitter.draw(self.numbers, n, Use::Jitter, correlation);
        let deviation = impairment.distribution.quantile(unit);
        let by = jitter.mul_f64(deviation.abs());
        if deviation < 0.0 {
            delay.saturating_sub(by)
        } else {
            delay.saturating_add(by)
        }
    }
}

impl std::ops::AddAssign for Taken {
    fn add_assign(&mut self, other: Self) {
        self.queued += other.queued;
        self.lost += other.lost;
        self.overflowed += other.overflowed;
    }
}

/// How long a superframe may take on the wire and still be sent as one: what it holds of other frames' time.
pub(super) const WHOLE_MAX: Duration = Duration::from_millis(1);
