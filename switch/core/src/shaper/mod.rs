//! Rates: what a port may send or get, and who has how much of it.
//!
//! # Theory of operation
//!
//! A [`Shaper`] is one direction of a port with a rate. It is handed envelopes and hands them out when there is credit for them; callers
//! have the clock and the timer. It owns the frames that wait.
//!
//! **The rate** is a token bucket ([`crate::bucket`]) over the bytes of the wire, from the Ethernet header on: a superframe counts the
//! headers of all its frames. It passes whole if the burst has room for it; otherwise it is cut into the frames of the wire first. Over any
//! time, no more leaves than the rate has for it, and a burst.
//!
//! **Who waits shares fairly** ([`queue`], RFC 8290): frames wait in a queue of their flow, and flows take turns by bytes. A flow that is
//! new, because it sends less than its share, goes first. Urgent flows ([`Flow`]) have turns of their own, which come before those
//! of the others as long as they have had no more than three quarters of the bytes. What goes first may use all of the burst, and others three
//! quarters of it: so it rarely finds the bucket empty.
//!
//! **Nobody waits for long** ([`codel`], RFC 8289): a flow whose frames have waited for more than the target during a whole interval
//! loses one now and then, so that its sender slows down. Beyond a bound, the flow with the longest queue loses its oldest frames.
//!
//! **Wakes are few.** Once there is no credit, it is not asked for again before half of the burst has come together, or as much as waits.

mod codel;
mod queue;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::queue::{Head, Queue, Took, Waiting};
use crate::bucket::{Bucket, on_wire};
use crate::envelope::Envelope;
use crate::flow::Flow;
use crate::{Frame, VnetHeader};

/// A rate and its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bits a second, counted from the Ethernet header on. Not zero.
    pub rate_bits_s: u64,
    /// Bytes that may leave at once after a pause; `None`: those of [`BURST_TIME`], and some frames at least.
    pub burst_bytes: Option<u64>,
}

impl Limit {
    /// What passes at once.
    pub fn burst(&self) -> u64 {
        let usual = u128::from(self.rate_bits_s) * BURST_TIME.as_nanos() / 8_000_000_000;
        let usual = u64::try_from(usual).unwrap_or(u64::MAX);
        self.burst_bytes.unwrap_or(usual.max(BURST_MIN))
    }

    /// What may wait: a moment at the rate, and some frames at least.
    fn queue_bytes(&self) -> usize {
        let bytes = self.rate_bits_s / 8 / 1000 * QUEUE_MS;
        let bytes = bytes.clamp(QUEUE_MIN, QUEUE_MAX);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// One direction of a port. Times are durations on the caller's monotonic clock.
#[derive(Debug)]
pub struct Shaper {
    gate: Option<Gate>,
    queue: Queue,
    counts: ShaperCounts,
    /// Where superframes are cut.
    room: Vec<u8>,
}

/// Frames of the wire that met a shaper, since it was made. `frames = sent + dropped`, and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShaperCounts {
    pub frames: u64,
    pub sent: u64,
    /// Of the frames that were sent.
    pub sent_bytes: u64,
    /// That had to wait.
    pub delayed: u64,
    /// Over the rate for too long.
    pub dropped: u64,
}

/// The limit, and how much of it is used.
#[derive(Debug)]
struct Gate {
    limit: Limit,
    bucket: Bucket,
    burst: Duration,
    /// The part that frames may use that do not go first.
    usual: Duration,
    burst_bytes: u64,
    queue_bytes: usize,
    target: Duration,
}

impl Shaper {
    /// `None`: everything passes.
    pub fn new(limit: Option<Limit>) -> Self {
        Self {
            gate: limit.map(Gate::new),
            queue: Queue::new(),
            counts: ShaperCounts::default(),
            room: Vec::new(),
        }
    }

    /// Frames that wait go on waiting for the new rate; where there is none, they leave at once, before any that come.
    pub fn set(&mut self, limit: Option<Limit>) {
        self.gate = limit.map(Gate::new);
    }

    pub fn limit(&self) -> Option<Limit> {
        self.gate.as_ref().map(|gate| gate.limit)
    }

    pub const fn counts(&self) -> ShaperCounts {
        self.counts
    }

    /// Frames of the wire that wait.
    pub const fn waiting(&self) -> u64 {
        self.queue.frames()
    }

    /// Whether an envelope may leave at `now` without waiting. If so it has left.
    pub fn pass(&mut self, now: Duration, envelope: &[u8]) -> bool {
        if !self.queue.is_empty() {
            return false;
        }
        let envelope = Envelope::of(envelope);
        if let Some(gate) = &mut self.gate {
            let is_long = envelope.frames() > 1 && envelope.wire_bytes() > gate.burst_bytes;
            if is_long || gate.admits_at(envelope.wire_bytes(), false) > now {
                return false;
            }
            gate.charge(now, envelope.wire_bytes());
        }
        self.counts.frames += envelope.frames();
        self.counts.sent += envelope.frames();
        self.counts.sent_bytes += envelope.wire_bytes();
        true
    }

    /// Takes an envelope in at `now`, which is not earlier than that of any call before. How many frames of the wire were dropped,
    /// of whatever flow.
    pub fn push(&mut self, now: Duration, envelope: &[u8]) -> u64 {
        let bytes = envelope.get(VnetHeader::LEN..).unwrap_or_default();
        let flow = Frame::parse(bytes).map_or_else(|_| Flow::default(), |frame| Flow::of(&frame));
        let envelope = Envelope::of(envelope);
        self.counts.frames += envelope.frames();
        self.counts.delayed += envelope.frames();
        let longest = self.gate.as_ref().map_or(u64::MAX, |gate| gate.burst_bytes);
        if envelope.frames() == 1 || envelope.wire_bytes() <= longest {
            self.queue.push(flow, &envelope, now);
        } else {
            let mut room = std::mem::take(&mut self.room);
            envelope.cut(&mut room, |frame| {
                self.queue.push(flow, &Envelope::of(frame), now);
            });
            self.room = room;
        }
        let most = self
            .gate
            .as_ref()
            .map_or(usize::MAX, |gate| gate.queue_bytes);
        let dropped = self.queue.shorten(most);
        self.counts.dropped += dropped;
        dropped
    }

    /// The next envelope that may leave at `now`.
    pub fn pop(&mut self, now: Duration) -> Option<Vec<u8>> {
        loop {
            let head = self.queue.head()?;
            let target = match &self.gate {
                Some(gate) if gate.admits_at(head.bytes, head.goes_first) > now => return None,
                Some(gate) => Some(gate.target),
                None => None,
            };
            match self.queue.take(now, target)? {
                Took::Dropped(frames) => self.counts.dropped += frames,
                Took::Frame(waiting) => return Some(self.send(now, waiting)),
            }
        }
    }

    /// The next envelope, whenever it was to leave.
    pub fn drain(&mut self) -> Option<Vec<u8>> {
        self.queue.head()?;
        match self.queue.take(Duration::ZERO, None)? {
            Took::Frame(waiting) => Some(self.count(waiting)),
            Took::Dropped(_) => None,
        }
    }

    /// When [`Self::pop`] is worth a try.
    pub fn next_release(&mut self) -> Option<Duration> {
        let head = self.queue.head()?;
        let waiting = self.queue.wire_bytes();
        let Some(gate) = &self.gate else {
            return Some(Duration::ZERO);
        };
        Some(gate.is_worth_a_try_at(&head, waiting))
    }

    /// Takes room back in which an envelope was handed out.
    pub fn give_back(&mut self, envelope: Vec<u8>) {
        self.queue.give_back(envelope);
    }

    fn send(&mut self, now: Duration, waiting: Waiting) -> Vec<u8> {
        if let Some(gate) = &mut self.gate {
            gate.charge(now, waiting.wire_bytes);
        }
        self.count(waiting)
    }

    fn count(&mut self, waiting: Waiting) -> Vec<u8> {
        self.counts.sent += waiting.frames;
        self.counts.sent_bytes += waiting.wire_bytes;
        waiting.envelope
    }
}

impl Gate {
    fn new(limit: Limit) -> Self {
        let burst_bytes = limit.burst();
        let burst = on_wire(burst_bytes, limit.rate_bits_s);
        Self {
            bucket: Bucket::default(),
            burst,
            usual: burst / 4 * 3,
            burst_bytes,
            queue_bytes: limit.queue_bytes(),
            target: TARGET
                .max(on_wire(2 * FRAME_LEN, limit.rate_bits_s))
                .max(burst),
            limit,
        }
    }

    fn took(&self, bytes: u64) -> Duration {
        on_wire(bytes, self.limit.rate_bits_s)
    }

    fn admits_at(&self, bytes: u64, goes_first: bool) -> Duration {
        let burst = if goes_first { self.burst } else { self.usual };
        self.bucket.admits_at(self.took(bytes), burst)
    }

    fn charge(&mut self, now: Duration, bytes: u64) {
        self.bucket.charge(now, bytes, self.limit.rate_bits_s);
    }

    fn is_worth_a_try_at(&self, head: &Head, waiting: u64) -> Duration {
        let at = self.admits_at(head.bytes, head.goes_first);
        if head.goes_first {
            return at;
        }
        let some = self.took(waiting).min(self.usual / 2);
        at.max(self.bucket.admits_at(some, self.usual))
    }
}

/// How long the usual burst takes: longer than a worker waits for its turn on a busy host, which would cost credit.
pub const BURST_TIME: Duration = Duration::from_millis(8);
/// Four frames of full length.
const BURST_MIN: u64 = 4 * FRAME_LEN;
const FRAME_LEN: u64 = 1514;
const QUEUE_MS: u64 = 100;
const QUEUE_MIN: u64 = 128 << 10;
const QUEUE_MAX: u64 = 32 << 20;
/// RFC 8289 §4.4.
const TARGET: Duration = Duration::from_millis(5);
