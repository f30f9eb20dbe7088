//! The latest events, and how far somebody has read.

use std::collections::VecDeque;
use std::sync::Arc;

use agent_api::Event;

/// The latest events.
#[derive(Debug)]
pub struct Ring {
    events: VecDeque<Arc<Event>>,
    events_max: usize,
    /// The number of the oldest that is kept.
    first: u64,
}

/// The number of the event that is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(u64);

/// What a reader gets at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub events: Vec<Arc<Event>>,
    /// How many went before it could read them.
    pub missed: u64,
}

impl Ring {
    /// One that keeps so many.
    pub fn new(events_max: usize) -> Self {
        Self {
            events: VecDeque::new(),
            events_max: events_max.max(1),
            first: 0,
        }
    }

    /// Takes an event in; the oldest goes where there is no room.
    pub fn push(&mut self, event: Event) {
        if self.events.len() >= self.events_max {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(Arc::new(event));
    }

    /// Of a reader that wants what is pushed from now on.
    pub fn end(&self) -> Cursor {
        Cursor(self.first + count(self.events.len()))
    }

    /// Of a reader that also wants what happened at that time or later, as far as it is kept. It does not hear of what is not.
    pub fn since(&self, at_ms: u64) -> Cursor {
        let before = self.events.iter().position(|event| event.at_ms >= at_ms);
        before.map_or(self.end(), |before| Cursor(self.first + count(before)))
    }

    /// At most `most` events, from the cursor on, which stands behind them then.
    pub fn read(&self, cursor: &mut Cursor, most: usize) -> Batch {
        let missed = self.first.saturating_sub(cursor.0);
        let from = cursor.0.max(self.first);
        let skipped = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let events: Vec<_> = self
            .events
            .iter()
            .skip(skipped)
            .take(most)
            .cloned()
            .collect();
        *cursor = Cursor(from + count(events.len()));
        Batch { events, missed }
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use agent_api::EventType;
    use proptest::prelude::*;

    use super::*;
    use crate::events::Notice;

    fn event(at_ms: u64) -> Event {
        Notice::new(EventType::Network, "create", at_ms).told(at_ms)
    }

    fn ring(kept: usize, pushed: u64) -> Ring {
        let mut ring = Ring::new(kept);
        (0..pushed).for_each(|at_ms| ring.push(event(at_ms)));
        ring
    }

    fn times(batch: &Batch) -> Vec<u64> {
        batch.events.iter().map(|event| event.at_ms).collect()
    }

    #[test]
    fn a_reader_gets_what_comes_after_it_began() {
        let mut ring = ring(8, 3);
        let mut cursor = ring.end();
        assert_eq!(ring.read(&mut cursor, 8), Batch::default());
        ring.push(event(3));
        assert_eq!(times(&ring.read(&mut cursor, 8)), [3]);
        assert_eq!(ring.read(&mut cursor, 8), Batch::default());
    }

    #[test]
    fn since_reaches_back_as_far_as_the_ring() {
        let ring = ring(4, 10);
        for (since, expected) in [
            (0, vec![6, 7, 8, 9]),
            (8, vec![8, 9]),
            (9, vec![9]),
            (10, vec![]),
        ] {
            let batch = ring.read(&mut ring.since(since), 8);
            assert_eq!((times(&batch), batch.missed), (expected, 0), "{since}");
        }
    }

    #[test]
    fn a_slow_reader_is_told_what_it_lost() {
        let mut ring = ring(4, 1);
        let mut cursor = ring.since(0);
        (1..10).for_each(|at_ms| ring.push(event(at_ms)));
        let batch = ring.read(&mut cursor, 2);
        assert_eq!((times(&batch), batch.missed), (vec![6, 7], 6));
        let batch = ring.read(&mut cursor, 2);
        assert_eq!((times(&batch), batch.missed), (vec![8, 9], 0));
    }

    proptest! {
        #[test]
        fn what_is_read_and_what_is_lost_is_all_there_was(
            kept in 1..8_usize,
            steps in prop::collection::vec((0..12_u64, 0..6_usize), 1..40),
        ) {
            let mut ring = Ring::new(kept);
            let mut cursor = ring.end();
            let (mut pushed, mut next) = (0, 0);
            for (more, most) in steps {
                (pushed..pushed + more).for_each(|at_ms| ring.push(event(at_ms)));
                pushed += more;
                let batch = ring.read(&mut cursor, most);
                next += batch.missed;
                for event in &batch.events {
                    prop_assert_eq!(event.at_ms, next);
                    next += 1;
                }
            }
            next += ring.read(&mut cursor, usize::MAX).events.len() as u64
                + ring.first.saturating_sub(next);
            prop_assert_eq!(next, pushed);
        }
    }
}
