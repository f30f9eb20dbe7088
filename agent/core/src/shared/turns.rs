//! Whose turn it is to be dialed.
//!
//! # Theory of operation
//!
//! A host that reaches the store through a manager dials another one when the connection has ended. What ended it may be the manager
//! itself: it accepts connections and is silent, or the rest of the cluster is out of its reach and it answers that the
//! store is. So every dial is the next one's turn, whatever came of the last; and none is left out for good.
//!
//! Where all that a host knows are of no use, the cluster may have gone on with managers of which the host has not heard: one that it
//! knows was cut off from the others, together with it, and answers still. So it looks elsewhere ([`Leaving`]), at hosts that may be
//! managers by now; but seldom, since what it knows may be of use again at any moment.

use std::time::{Duration, Instant};

/// All there are, the next one first.
#[derive(Clone, Debug)]
pub struct Turns<T>(Vec<T>);

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone + PartialEq> Turns<T> {
    pub fn of(first: T) -> Self {
        Self(vec![first])
    }

    /// It is this one's turn.
    pub fn prefer(&mut self, one: T) {
        self.0.retain(|other| *other != one);
        self.0.insert(0, one);
    }

    /// Those are all; the order of those that were known stays. Nothing is forgotten for an empty list.
    pub fn learn(&mut self, all: Vec<T>) {
        if all.is_empty() {
            return;
        }
        self.0.retain(|known| all.contains(known));
        for one in all {
            if !self.0.contains(&one) {
                self.0.push(one);
            }
        }
    }

    /// Whose turn it is; the next one's is after that.
    pub fn take(&mut self) -> Option<T> {
        let next = self.0.first().cloned();
        if next.is_some() {
            self.0.rotate_left(1);
        }
        next
    }

    /// The same of so many at most, each once.
    pub fn take_some(&mut self, most: usize) -> Vec<T> {
        let count = most.min(self.0.len());
        (0..count).filter_map(|_| self.take()).collect()
    }

    /// In the order of their turns.
    pub fn all(&self) -> &[T] {
        &self.0
    }
}

/// When managers are left that answer, and do not reach the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leaving {
    /// How many were left since somebody looked elsewhere.
    left: usize,
    looked: Option<Instant>,
    looks_elsewhere: bool,
}

impl Leaving {
    /// Whether to leave one of so many that are `known`. The only one stays, but for a look elsewhere each [`LOOK_AGAIN`].
    pub fn leaves(&mut self, known: usize, now: Instant) -> bool {
        self.left = self.left.saturating_add(1);
        let is_early = self.looked.is_some_and(|at| now < at + LOOK_AGAIN);
        if self.left < known || is_early {
            return known > 1;
        }
        *self = Self {
            left: 0,
            looked: Some(now),
            looks_elsewhere: true,
        };
        true
    }

    /// Whether whoever dials now is to ask hosts first that may be managers, before those that are known. Said once.
    pub fn take_elsewhere(&mut self) -> bool {
        std::mem::take(&mut self.looks_elsewhere)
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_only_one_is_left_now_and_then_for_others_that_may_be_there() {
        let (mut leaving, start) = (Leaving::default(), now());
        let after = |millis| start + Duration::from_millis(millis);
        assert!(!leaving.take_elsewhere());
        assert!(leaving.leaves(1, start));
        assert!(leaving.take_elsewhere());
        assert!(!leaving.take_elsewhere());
        assert!(!leaving.leaves(1, after(10)) && !leaving.leaves(1, after(4990)));
        assert!(!leaving.take_elsewhere());
        assert!(leaving.leaves(1, after(5000)));
        assert!(leaving.take_elsewhere());
    }

    #[test]
    fn of_several_each_is_left_for_the_next_and_the_last_for_others() {
        let (mut leaving, start) = (Leaving::default(), now());
        for round in 0..3 {
            let now = start + LOOK_AGAIN * round;
            for is_last in [false, false, true] {
                assert!(leaving.leaves(3, now));
                assert_eq!(leaving.take_elsewhere(), is_last);
            }
            // All once more, too early for another look.
            assert!((0..9).all(|_| leaving.leaves(3, now)));
            assert!(!leaving.take_elsewhere());
            leaving.left = 0;
        }
    }

    #[test]
    fn each_has_its_turn_whatever_came_of_the_last() {
        let mut turns = Turns::of(1);
        turns.learn(vec![2, 1, 3]);
        let taken: Vec<_> = (0..6).map(|_| turns.take().unwrap()).collect();
        assert_eq!(taken, [1, 2, 3, 1, 2, 3]);
        turns.prefer(3);
        assert_eq!(turns.take(), Some(3));
        assert_eq!(turns.all(), [1, 2, 3]);
    }

    #[test]
    fn of_many_some_have_their_turn_and_then_the_others() {
        let mut turns = Turns::default();
        assert!(turns.take_some(2).is_empty());
        turns.learn(vec![1, 2, 3]);
        assert_eq!(turns.take_some(2), [1, 2]);
        turns.learn(vec![1, 2, 3]);
        assert_eq!(turns.take_some(2), [3, 1]);
        assert_eq!(turns.take_some(9), [2, 3, 1]);
    }

    #[test]
    fn who_is_gone_has_no_turn_and_an_empty_list_takes_nobody_away() {
        let mut turns = Turns::of(1);
        turns.learn(vec![4, 5]);
        turns.learn(Vec::new());
        assert_eq!(turns.all(), [4, 5]);
    }
}
