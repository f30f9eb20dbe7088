//! Frames that wait, by flow, and whose turn it is: FQ-CoDel (RFC 8290), once for each of two classes.
//!
//! # Theory of operation
//!
//! A flow has a queue, chosen by its mark; flows of one queue share its turns. A queue that becomes used is new, and new ones come before old
//! ones. Each may send [`QUANTUM`] bytes a turn; one that has sent more, as with a superframe, is passed over until it has been made up for. A
//! new queue that has had its turn, or has nothing more, becomes the last of the old ones; an old one that has nothing is forgotten.
//!
//! Queues of the urgent class come before all others, until they have had [`URGENT_SHARE`] times as many bytes.

use std::collections::VecDeque;
use std::time::Duration;

use super::codel::Codel;
use crate::envelope::Envelope;
use crate::flow::Flow;

#[derive(Debug)]
pub(super) struct Queue {
    flows: Box<[FlowQueue]>,
    classes: [Turns; 2],
    /// What the urgent had more than is their share, while others waited.
    favor: u64,
    frames: u64,
    wire_bytes: u64,
    /// Memory that is used.
    used: usize,
    /// Rooms of envelopes that have left.
    spare: Vec<Vec<u8>>,
}

/// Whose turn it is, by number.
#[derive(Debug, Default)]
struct Turns {
    new: VecDeque<u16>,
    old: VecDeque<u16>,
    /// Envelopes that wait.
    waiting: usize,
}

#[derive(Debug, Default)]
struct FlowQueue {
    waiting: VecDeque<Waiting>,
    used: usize,
    /// Bytes that it may send in its turn.
    credit: i64,
    has_turns: bool,
    codel: Codel,
}

/// An envelope that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) envelope: Vec<u8>,
    /// On the wire.
    pub(super) frames: u64,
    pub(super) wire_bytes: u64,
    came: Duration,
}

/// What would leave next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) bytes: u64,
    /// It is urgent, or of a flow that has had no turn.
    pub(super) goes_first: bool,
}

/// What has become of the head.
#[derive(Debug)]
pub(super) enum Took {
    Frame(Waiting),
    /// So many frames of the wire, to slow their sender down.
    Dropped(u64),
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            flows: std::iter::repeat_with(FlowQueue::default)
                .take(2 * FLOWS)
                .collect(),
            classes: Default::default(),
            favor: 0,
            frames: 0,
            wire_bytes: 0,
            used: 0,
            spare: Vec::new(),
        }
    }

    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) const fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.frames == 0
    }

    pub(super) fn push(&mut self, flow: Flow, envelope: &Envelope<'_>, now: Duration) {
        let class = if flow.is_urgent { URGENT } else { REST };
        let number = class * FLOWS + usize::try_from(flow.mark).unwrap_or(0) % FLOWS;
        let mut room = self.spare.pop().unwrap_or_default();
        room.clear();
        room.extend_from_slice(envelope.bytes());
        let waiting = Waiting {
            envelope: room,
            frames: envelope.frames(),
            wire_bytes: envelope.wire_bytes(),
            came: now,
        };
        self.frames += waiting.frames;
        self.wire_bytes += waiting.wire_bytes;
        self.used += waiting.used();
        self.classes[class].waiting += 1;
        let queue = &mut self.flows[number];
        queue.used += waiting.used();
        queue.waiting.push_back(waiting);
        if !std::mem::replace(&mut queue.has_turns, true) {
            queue.credit = QUANTUM;
            self.classes[class].new.push_back(short(number));
        }
    }

    /// Drops the oldest frames of whoever has most, until no more than `most` bytes are used. How many.
    pub(super) fn shorten(&mut self, most: usize) -> u64 {
        let mut dropped = 0;
        while self.used > most {
            let longest = (0..self.flows.len()).max_by_key(|number| self.flows[*number].used);
            let Some(waiting) = longest.and_then(|number| self.remove(number)) else {
                break;
            };
            dropped += waiting.frames;
            self.give_back(waiting.envelope);
        }
        dropped
    }

    /// What would leave next, after the turns that are over have been given on.
    pub(super) fn head(&mut self) -> Option<Head> {
        let class = self.class()?;
        loop {
            let Turns { new, old, .. } = &mut self.classes[class];
            let is_new = !new.is_empty();
            let number = *new.front().or(old.front())?;
            let queue = &mut self.flows[usize::from(number)];
            match queue.waiting.front() {
                Some(head) if queue.credit > 0 => {
                    return Some(Head {
                        bytes: head.wire_bytes,
                        goes_first: is_new || class == URGENT,
                    });
                }
                // One that is new stays among those that are known, lest it be new again with its next frame.
                None if !is_new => {
                    queue.has_turns = false;
                    old.pop_front();
                }
                waits => {
                    queue.credit += if waits.is_some() { QUANTUM } else { 0 };
                    if is_new {
                        new.pop_front();
                    } else {
                        old.pop_front();
                    }
                    old.push_back(number);
                }
            }
        }
    }

    /// Takes what [`Self::head`] told out, unless it has waited for too long.
    pub(super) fn take(&mut self, now: Duration, target: Option<Duration>) -> Option<Took> {
        let class = self.class()?;
        let Turns { new, old, .. } = &self.classes[class];
        let number = usize::from(*new.front().or(old.front())?);
        let is_contested = self.classes.iter().all(|turns| turns.waiting > 0);
        let queue = &mut self.flows[number];
        let waited = match queue.waiting.len() {
            // Behind it is nobody.
            1 => Duration::ZERO,
            _ => now.saturating_sub(queue.waiting.front()?.came),
        };
        let drops = target.is_some_and(|target| queue.codel.drops(now, waited, target));
        let waiting = self.remove(number)?;
        if drops {
            let frames = waiting.frames;
            self.give_back(waiting.envelope);
            return Some(Took::Dropped(frames));
        }
        self.flows[number].credit -= i64::try_from(waiting.wire_bytes).unwrap_or(i64::MAX);
        if is_contested && class == URGENT {
            self.favor += waiting.wire_bytes;
        } else {
            self.favor = self.favor.saturating_sub(URGENT_SHARE * waiting.wire_bytes);
        }
        Some(Took::Frame(waiting))
    }

    pub(super) fn give_back(&mut self, room: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(room);
        }
    }

    /// Whose turn it is among the classes. `None`: nothing waits.
    fn class(&self) -> Option<usize> {
        let waits = |class: usize| self.classes[class].waiting > 0;
        match (waits(URGENT), waits(REST)) {
            (false, false) => None,
            (true, true) if self.favor > FAVOR_MAX => Some(REST),
            (true, _) => Some(URGENT),
            (false, true) => Some(REST),
        }
    }

    fn remove(&mut self, number: usize) -> Option<Waiting> {
        let queue = &mut self.flows[number];
        let waiting = queue.waiting.pop_front()?;
        queue.used -= waiting.used();
        self.classes[number / FLOWS].waiting -= 1;
        self.used -= waiting.used();
        self.frames -= waiting.frames;
        self.wire_bytes -= waiting.wire_bytes;
        Some(waiting)
    }
}

impl Waiting {
    fn used(&self) -> usize {
        self.envelope.len() + OVERHEAD
    }
}

fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(0)
}

/// Queues of a class.
const FLOWS: usize = 128;
const URGENT: usize = 0;
const REST: usize = 1;
/// A frame of full length (RFC 8290 §5.2.3).
const QUANTUM: i64 = 1514;
/// Bytes of the urgent for each of the others.
const URGENT_SHARE: u64 = 3;
const FAVOR_MAX: u64 = 8 * 1514;
/// Of the memory of a frame that waits.
const OVERHEAD: usize = 256;
/// Rooms that are kept for frames to come.
const SPARE_MAX: usize = 64;
