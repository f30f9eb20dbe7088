//! Rounds: work that brings something in line with what is wanted, shared by all who want it.
//!
//! # Theory of operation
//!
//! Whoever changed what is wanted asks for a round and waits for one that began afterwards. One thread works at a time; all that
//! asked meanwhile share the next round. So fifty changes at once cost two runs of `nft`, and none of them holds a lock.

use std::sync::{Condvar, Mutex};

use crate::locks::{hold_nothing, lock, wait};

/// The rounds of one piece of work, and how the last one ended.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    state: Mutex<State<T>>,
    ended: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// How many have asked so far.
    asked: u64,
    /// How many of them had asked when the last round that ended began.
    served: u64,
    runs: bool,
    outcome: Option<T>,
}

/// Ends a round, also one that panics.
struct Running<'a, T> {
    rounds: &'a Rounds<T>,
    serves: u64,
    outcome: Option<T>,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                asked: 0,
                served: 0,
                runs: false,
                outcome: None,
            }),
            ended: Condvar::new(),
        }
    }
}

impl<T: Clone> Rounds<T> {
    /// The outcome of a round that began after this call: of `work`, or of the same work done by somebody else.
    pub(crate) fn ask(&self, work: impl FnOnce() -> T) -> T {
        hold_nothing();
        let mut state = lock(&self.state);
        state.asked += 1;
        let own = state.asked;
        while state.runs || state.served >= own {
            match &state.outcome {
                Some(outcome) if state.served >= own => return outcome.clone(),
                _ => state = wait(&self.ended, state),
            }
        }
        state.runs = true;
        let mut running = Running {
            rounds: self,
            serves: state.asked,
            outcome: None,
        };
        drop(state);
        let outcome = work();
        running.outcome = Some(outcome.clone());
        outcome
    }
}

impl<T> Drop for Running<'_, T> {
    fn drop(&mut self) {
        let mut state = lock(&self.rounds.state);
        state.runs = false;
        // A round that panicked served nobody: the next one to ask works.
        if let Some(outcome) = self.outcome.take() {
            state.served = self.serves;
            state.outcome = Some(outcome);
        }
        self.rounds.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn those_who_ask_during_a_round_share_the_next_one() {
        let (rounds, runs) = (Rounds::default(), AtomicUsize::new(0));
        let (begun, begins) = channel();
        let (go, waits) = channel::<()>();
        thread::scope(|scope| {
            let (rounds, runs) = (&rounds, &runs);
            scope.spawn(move || {
                rounds.ask(|| {
                    begun.send(()).unwrap();
                    waits.recv().unwrap();
                    runs.fetch_add(1, Ordering::Relaxed)
                })
            });
            begins.recv().unwrap();
            let asking: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || rounds.ask(|| runs.fetch_add(1, Ordering::Relaxed))))
                .collect();
            while lock(&rounds.state).asked < 9 {
                thread::yield_now();
            }
            go.send(()).unwrap();
            for asked in asking {
                assert_eq!(asked.join().unwrap(), 1);
            }
        });
        assert_eq!(runs.into_inner(), 2);
    }

    #[test]
    fn a_round_that_panics_leaves_nobody_waiting() {
        let rounds = Rounds::default();
        let panicked = thread::scope(|scope| {
            scope
                .spawn(|| rounds.ask(|| panic!("as if the work had a fault")))
                .join()
        });
        assert!(panicked.is_err());
        assert_eq!(rounds.ask(|| 7), 7);
    }
}
