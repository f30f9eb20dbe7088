//! Turns: acts on one thing come one after the other, and nobody else waits for them.
//!
//! # Theory of operation
//!
//! An act is planned under a short lock, carried out without any, and committed under the lock again. Between plan and commit the
//! thing is reserved by its turn: whoever wants to act on the same thing waits, acts on other things go on, and reads take no
//! turn at all. Where an act needs several turns it takes them downwards: of a container, of an endpoint's owner, of a network.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::locks::{hold_nothing, lock, wait, wait_for};

/// Who is having a turn, by what it is about.
#[derive(Debug)]
pub(crate) struct Turns<K> {
    taken: Mutex<BTreeSet<K>>,
    given_back: Condvar,
}

/// The right to act on one thing, until dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a, K: Ord> {
    turns: &'a Turns<K>,
    about: K,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            taken: Mutex::default(),
            given_back: Condvar::new(),
        }
    }
}

impl<K: Ord + Clone> Turns<K> {
    /// Waits until nobody has a turn, or `patience` is over.
    pub(crate) fn settle(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut taken = lock(&self.taken);
        while !taken.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            taken = wait_for(&self.given_back, taken, left);
        }
    }

    /// Waits for those before. A thread that has the turn already waits for ever.
    pub(crate) fn take(&self, about: K) -> Turn<'_, K> {
        hold_nothing();
        let mut taken = lock(&self.taken);
        while taken.contains(&about) {
            taken = wait(&self.given_back, taken);
        }
        taken.insert(about.clone());
        Turn { turns: self, about }
    }
}

impl<K: Ord> Turn<'_, K> {
    pub(crate) const fn about(&self) -> &K {
        &self.about
    }
}

impl<K: Ord> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        lock(&self.turns.taken).remove(&self.about);
        self.turns.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn acts_on_one_thing_wait_for_each_other_and_for_nothing_else() {
        let turns = Turns::default();
        let (sender, done) = channel();
        thread::scope(|scope| {
            let first = turns.take("web");
            let (turns, waiting) = (&turns, sender.clone());
            scope.spawn(move || {
                let _turn = turns.take("web");
                waiting.send("web").unwrap();
            });
            scope.spawn(move || {
                let _turn = turns.take("db");
                sender.send("db").unwrap();
            });
            assert_eq!(done.recv(), Ok("db"));
            assert!(done.try_recv().is_err());
            drop(first);
            assert_eq!(done.recv(), Ok("web"));
        });
    }
}
