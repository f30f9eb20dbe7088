//! A bounded queue that is fair to the ports that fill it.
//!
//! # Theory of operation
//!
//! What comes from (or goes to) a port waits in that port's lane, and the lanes take turns: whatever one port queues, what
//! another queues waits for one frame of each lane at most. A lane may grow for as long as it has less than there are free
//! places, so one port alone takes half of them, two a third each, and there is always room for the next. Frames of no port
//! in particular share a lane that may take every place.
//!
//! Every frame is in exactly one lane; a lane is in `turns` exactly while it has frames. A few empty lanes are kept for the
//! next frame of their port.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use switch_core::PortId;

use crate::hasher::PortHasher;

#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: HashMap<Option<PortId>, VecDeque<Vec<u8>>, BuildHasherDefault<PortHasher>>,
    turns: VecDeque<Option<PortId>>,
    len: usize,
    capacity: usize,
}

impl Lanes {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            lanes: HashMap::default(),
            turns: VecDeque::new(),
            len: 0,
            capacity,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues an envelope at the end of its lane; `false` when there is no room for it.
    pub(crate) fn push(&mut self, port: Option<PortId>, envelope: Vec<u8>) -> bool {
        let free = self.capacity.saturating_sub(self.len);
        let waiting = self.lanes.get(&port).map_or(0, VecDeque::len);
        if free == 0 || (port.is_some() && waiting >= free) {
            return false;
        }
        self.lanes.entry(port).or_default().push_back(envelope);
        if waiting == 0 {
            self.turns.push_back(port);
        }
        self.len += 1;
        true
    }

    /// The next envelope of the lane whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<(Option<PortId>, Vec<u8>)> {
        let port = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&port)?;
        let envelope = lane.pop_front()?;
        self.len -= 1;
        if !lane.is_empty() {
            self.turns.push_back(port);
        } else if self.lanes.len() > IDLE_LANES {
            self.lanes.remove(&port);
        }
        Some((port, envelope))
    }
}

/// Lanes beyond this number go as soon as they are empty.
const IDLE_LANES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(lanes: &mut Lanes, port: u32) -> usize {
        let mut taken = 0;
        while lanes.push(Some(PortId(port)), vec![taken]) {
            taken += 1;
        }
        usize::from(taken)
    }

    #[test]
    fn greedy_ports_leave_room_for_the_next() {
        let mut lanes = Lanes::new(256);
        assert_eq!(fill(&mut lanes, 1), 128);
        assert_eq!(fill(&mut lanes, 2), 64);
        for port in 3..8 {
            assert!(fill(&mut lanes, port) > 0, "{port}");
        }
    }

    #[test]
    fn lanes_take_turns_and_keep_their_order() {
        let mut lanes = Lanes::new(64);
        for (port, byte) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30)] {
            assert!(lanes.push(Some(PortId(port)), vec![byte]));
        }
        let order: Vec<_> = std::iter::from_fn(|| lanes.pop())
            .map(|(port, envelope)| (port.unwrap().0, envelope[0]))
            .collect();
        assert_eq!(order, [(1, 10), (2, 20), (3, 30), (1, 11), (1, 12)]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn frames_of_no_port_may_take_every_place() {
        let mut lanes = Lanes::new(4);
        for _ in 0..4 {
            assert!(lanes.push(None, vec![0]));
        }
        assert!(!lanes.push(None, vec![0]) && !lanes.push(Some(PortId(1)), vec![0]));
    }

    #[test]
    fn lanes_of_ports_that_are_silent_are_forgotten() {
        let mut lanes = Lanes::new(1024);
        for port in 0..1000 {
            assert!(lanes.push(Some(PortId(port)), vec![0]));
            lanes.pop().unwrap();
        }
        assert!(lanes.lanes.len() <= IDLE_LANES + 1 && lanes.turns.is_empty());
    }
}
