//! Where copies wait, and what is read of them.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use switch_core::{DropReason, RawVnet, lock};

use super::sight::{Direction, Sight};

/// A frame that passed a port, or that should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'r> {
    /// The position of its port in [`Capture::interfaces`](super::Capture::interfaces).
    pub interface: usize,
    pub time: SystemTime,
    pub direction: Direction,
    /// Length of the frame, from its Ethernet header on.
    pub original_len: usize,
    /// Its beginning, as much as was wanted.
    pub bytes: &'r [u8],
    /// Why it went nowhere, if it did not and that is known: of frames to a TAP that the kernel takes later, it is not.
    pub dropped: Option<DropReason>,
    /// What its sender left to the device: the checksum is open where this says so, and the frame is a superframe. Of a frame that was
    /// dropped it may be nonsense.
    pub vnet: RawVnet,
}

/// What a reader took. May be reused, which saves memory.
#[derive(Debug, Default)]
pub struct Records {
    lanes: Vec<Lane>,
    /// Lane and place, by time.
    order: Vec<(u32, u32)>,
}

/// Copies of one worker, in the order of their time.
#[derive(Debug, Default)]
pub(super) struct Lane {
    heads: Vec<Head>,
    bytes: Vec<u8>,
}

/// What is known of a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    interface: u32,
    time_ns: u64,
    direction: Direction,
    original_len: u32,
    captured_len: u32,
    dropped: Option<DropReason>,
    vnet: RawVnet,
    /// Where it starts in the lane.
    start: usize,
}

impl Head {
    /// Of a frame of `len` bytes behind `header`.
    pub(super) fn new(interface: u32, sight: &Sight<'_>, header: &[u8], len: usize) -> Self {
        let time = sight.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            interface,
            time_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            direction: sight.direction,
            original_len: u32::try_from(len).unwrap_or(u32::MAX),
            captured_len: 0,
            dropped: sight.dropped,
            vnet: RawVnet::read(header).unwrap_or_default(),
            start: 0,
        }
    }
}

impl Lane {
    /// Bytes that a copy of so many takes.
    pub(super) const fn room_for(captured: usize) -> usize {
        captured + size_of::<Head>()
    }

    pub(super) fn push(&mut self, head: Head, captured: &[u8]) {
        self.heads.push(Head {
            captured_len: u32::try_from(captured.len()).unwrap_or(u32::MAX),
            start: self.bytes.len(),
            ..head
        });
        self.bytes.extend_from_slice(captured);
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.bytes.clear();
    }

    fn room_taken(&self) -> usize {
        self.heads.len() * Self::room_for(0) + self.bytes.len()
    }

    fn record(&self, place: usize) -> Option<Record<'_>> {
        let head = self.heads.get(place)?;
        let len = usize::try_from(head.captured_len).ok()?;
        Some(Record {
            interface: usize::try_from(head.interface).ok()?,
            time: UNIX_EPOCH + Duration::from_nanos(head.time_ns),
            direction: head.direction,
            original_len: usize::try_from(head.original_len).ok()?,
            bytes: self.bytes.get(head.start..)?.get(..len)?,
            dropped: head.dropped,
            vnet: head.vnet,
        })
    }
}

impl Records {
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Bytes of frames in all.
    pub fn bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.bytes.len()).sum()
    }

    /// In the order of their time.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let at = |number: u32| usize::try_from(number).ok();
        self.order
            .iter()
            .filter_map(move |(lane, place)| self.lanes.get(at(*lane)?)?.record(at(*place)?))
    }

    /// Exchanges what these hold for what is in `lanes`. How many bytes that took there.
    pub(super) fn refill(&mut self, lanes: &[Mutex<Lane>]) -> usize {
        self.lanes.resize_with(lanes.len(), Lane::default);
        self.order.clear();
        let mut taken = 0;
        for (number, (own, lane)) in (0..).zip(self.lanes.iter_mut().zip(lanes)) {
            own.clear();
            std::mem::swap(&mut *lock(lane), own);
            taken += own.room_taken();
            let places = (0..).take(own.heads.len());
            self.order.extend(places.map(|place| (number, place)));
        }
        let lanes = &self.lanes;
        let at = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let time = |(lane, place): &(u32, u32)| lanes[at(*lane)].heads[at(*place)].time_ns;
        // Within a lane they are in order, unless the clock was set.
        self.order.sort_by_key(time);
        taken
    }
}
