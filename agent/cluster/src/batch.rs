//! Writes of several members, made in one transaction of the store.
//!
//! # Theory of operation
//!
//! One transaction is under way at a time. What comes meanwhile waits, and goes with the next one: whoever has ended a transaction
//! gives all that waits to the first who waits, who makes one of it. So a write that comes alone waits for nothing, and many at
//! once cost etcd few transactions and few writes to disk.
//!
//! A transaction happens as a whole or not at all, and one member's write must not fail for another's. So where a joint one fails,
//! each is made by itself. What nobody knows the outcome of is not made again: everybody is told so. Writes of one key never go
//! together. Where a transaction takes long, since etcd elects a leader, nobody waits for it any longer.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_store::{Change, Store, StoreError};

use crate::lock::lock;

pub(crate) struct Batch {
    store: Arc<dyn Store>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    is_under_way: bool,
    waiting: Vec<Waiting>,
    last_number: u64,
}

struct Waiting {
    number: u64,
    changes: Vec<Change>,
    tell: SyncSender<Word>,
}

/// What somebody who waits is told.
enum Word {
    Made(u64),
    /// The joint one failed: make it by yourself.
    Alone,
    Unreachable {
        endpoints: String,
        reason: String,
    },
    /// Make it with these.
    Lead(Vec<Waiting>),
}

impl Batch {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            queue: Mutex::default(),
        }
    }

    /// As [`Store::transact`], with what others write at the same time.
    pub(crate) fn transact(&self, changes: &[Change]) -> Result<u64, StoreError> {
        let Some((number, told)) = self.enter(changes) else {
            let _turn = Turn(self);
            return self.store.transact(changes);
        };
        let word = match told.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) if self.give_up(number) => return self.alone(changes),
            // It is part of one that is under way.
            Err(RecvTimeoutError::Timeout) => told.recv().ok(),
            word => word.ok(),
        };
        match word {
            Some(Word::Made(revision)) => Ok(revision),
            Some(Word::Lead(others)) => {
                let _turn = Turn(self);
                self.make(changes, others)
            }
            Some(Word::Unreachable { endpoints, reason }) => {
                Err(StoreError::Unreachable { endpoints, reason })
            }
            Some(Word::Alone) | None => self.alone(changes),
        }
    }

    /// None where nothing is under way, and it is this one's turn.
    fn enter(&self, changes: &[Change]) -> Option<(u64, Receiver<Word>)> {
        let mut queue = lock(&self.queue);
        if !queue.is_under_way {
            queue.is_under_way = true;
            return None;
        }
        queue.last_number += 1;
        let number = queue.last_number;
        let (tell, told) = sync_channel(1);
        queue.waiting.push(Waiting {
            number,
            changes: changes.to_vec(),
            tell,
        });
        Some((number, told))
    }

    /// Whether it waited still.
    fn give_up(&self, number: u64) -> bool {
        let mut queue = lock(&self.queue);
        let before = queue.waiting.len();
        queue.waiting.retain(|waiting| waiting.number != number);
        queue.waiting.len() < before
    }

    fn alone(&self, changes: &[Change]) -> Result<u64, StoreError> {
        self.store.transact(changes)
    }

    /// One transaction of it all, and the others are told.
    fn make(&self, own: &[Change], others: Vec<Waiting>) -> Result<u64, StoreError> {
        if others.is_empty() {
            return self.alone(own);
        }
        let of_others = others.iter().flat_map(|other| &other.changes);
        let all: Vec<_> = own.iter().chain(of_others).cloned().collect();
        let made = self.store.transact(&all);
        for other in others {
            let word = match &made {
                Ok(revision) => Word::Made(*revision),
                Err(StoreError::Unreachable { endpoints, reason }) => Word::Unreachable {
                    endpoints: endpoints.clone(),
                    reason: reason.clone(),
                },
                Err(_) => Word::Alone,
            };
            // Somebody who is gone waits for nothing.
            let _ = other.tell.send(word);
        }
        match made {
            Ok(_) | Err(StoreError::Unreachable { .. }) => made,
            Err(_) => self.alone(own),
        }
    }
}

/// The one that is under way. With its end the next one is.
struct Turn<'a>(&'a Batch);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        loop {
            let mut together = take_together(&mut queue.waiting);
            if together.is_empty() {
                queue.is_under_way = false;
                return;
            }
            let first = together.remove(0);
            match first.tell.send(Word::Lead(together)) {
                Ok(()) => return,
                // Who was to lead is gone; the others wait on.
                Err(unsent) => {
                    if let Word::Lead(others) = unsent.0 {
                        queue.waiting.splice(..0, others);
                    }
                }
            }
        }
    }
}

/// The first ones that go into one transaction.
fn take_together(waiting: &mut Vec<Waiting>) -> Vec<Waiting> {
    let (mut keys, mut count) = (BTreeSet::new(), 0);
    let fit = waiting
        .iter()
        .take_while(|one| {
            count += one.changes.len();
            let mut changes = one.changes.iter();
            (keys.is_empty() || count <= CHANGES_MAX)
                && changes.all(|change| keys.insert(change.key.clone()))
        })
        .count();
    // One that writes a key twice is refused by etcd, and not by us.
    let fit = fit.max(1).min(waiting.len());
    waiting.drain(..fit).collect()
}

/// Of one transaction: etcd takes 128 comparisons, of which a change has up to two.
const CHANGES_MAX: usize = 60;
/// Many times what a transaction takes.
const PATIENCE: Duration = Duration::from_millis(150);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread::{self, sleep};

    use agent_store::{Entry, Expected, LeaseId, RedbStore, Watch};
    use serde_json::json;

    use super::*;

    /// A store whose first transaction waits until it is let go on.
    struct Slow {
        store: RedbStore,
        transactions: AtomicUsize,
        goes_on: AtomicBool,
        /// Whether what comes after the first one comes to nothing, as far as is known.
        breaks: bool,
        _dir: tempfile::TempDir,
    }

    impl Slow {
        fn new(breaks: bool) -> Arc<Self> {
            let dir = tempfile::tempdir().unwrap();
            Arc::new(Self {
                store: RedbStore::open(dir.path()).unwrap(),
                transactions: AtomicUsize::new(0),
                goes_on: AtomicBool::new(false),
                breaks,
                _dir: dir,
            })
        }
    }

    impl Store for Slow {
        fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
            self.store.get(key)
        }

        fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
            self.store.list(prefix)
        }

        fn transact(&self, changes: &[Change]) -> Result<u64, StoreError> {
            let number = self.transactions.fetch_add(1, Ordering::SeqCst);
            while number == 0 && !self.goes_on.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(1));
            }
            if number > 0 && self.breaks {
                return Err(StoreError::Unreachable {
                    endpoints: "etcd".to_owned(),
                    reason: "it broke off".to_owned(),
                });
            }
            self.store.transact(changes)
        }

        fn watch(&self, prefix: &str) -> Watch {
            self.store.watch(prefix)
        }

        fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
            self.store.grant(ttl)
        }

        fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
            self.store.keep_alive(lease)
        }

        fn end_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
            self.store.end_lease(lease)
        }
    }

    fn put(key: &str, value: u64, expected: Expected) -> Vec<Change> {
        vec![Change::put(key, json!(value), expected)]
    }

    /// What becomes of writes that all wait for one that is under way.
    fn meanwhile(store: &Arc<Slow>, writes: &[Vec<Change>]) -> Vec<Result<u64, StoreError>> {
        let batch = Batch::new(Arc::clone(store) as _);
        thread::scope(|scope| {
            let first = scope.spawn(|| batch.transact(&put("first", 0, Expected::Absent)));
            while store.transactions.load(Ordering::SeqCst) == 0 {
                sleep(Duration::from_millis(1));
            }
            let mut waiting = Vec::new();
            for write in writes {
                waiting.push(scope.spawn(|| batch.transact(write)));
                while lock(&batch.queue).waiting.len() < waiting.len() {
                    sleep(Duration::from_millis(1));
                }
            }
            store.goes_on.store(true, Ordering::SeqCst);
            first.join().unwrap().unwrap();
            let done = waiting.into_iter().map(|write| write.join().unwrap());
            done.collect()
        })
    }

    #[test]
    fn what_waits_for_a_transaction_is_the_next_one_together() {
        let store = Slow::new(false);
        let writes: Vec<_> = (0..5)
            .map(|n| put(&format!("k{n}"), n, Expected::Absent))
            .collect();
        let made = meanwhile(&store, &writes);
        let revision = *made[0].as_ref().unwrap();
        assert!(made.iter().all(|made| *made.as_ref().unwrap() == revision));
        assert_eq!(store.transactions.load(Ordering::SeqCst), 2);
        assert_eq!(store.list("k").unwrap().len(), 5);
    }

    #[test]
    fn nobodys_write_fails_for_anothers() {
        let store = Slow::new(false);
        let writes = [
            put("a", 1, Expected::Absent),
            put("b", 1, Expected::Revision(99)),
            put("c", 1, Expected::Absent),
        ];
        let made = meanwhile(&store, &writes);
        assert!(made[0].is_ok() && made[2].is_ok());
        assert!(matches!(&made[1], Err(StoreError::Missing { key }) if key == "b"));
    }

    #[test]
    fn writes_of_one_key_come_one_after_the_other() {
        let store = Slow::new(false);
        let writes = [1, 2, 3].map(|n| put("a", n, Expected::Anything));
        let made = meanwhile(&store, &writes);
        let revisions: BTreeSet<u64> = made.into_iter().map(Result::unwrap).collect();
        assert_eq!(revisions.len(), 3);
    }

    #[test]
    fn what_may_have_happened_is_not_made_again() {
        let store = Slow::new(true);
        let writes = ["a", "b"].map(|key| put(key, 1, Expected::Anything));
        let made = meanwhile(&store, &writes);
        assert!(
            made.iter()
                .all(|made| matches!(made, Err(StoreError::Unreachable { .. })))
        );
        assert_eq!(store.transactions.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn nobody_waits_for_one_that_takes_long() {
        let store = Slow::new(false);
        let batch = Batch::new(Arc::clone(&store) as _);
        thread::scope(|scope| {
            scope.spawn(|| batch.transact(&put("first", 0, Expected::Absent)).unwrap());
            while store.transactions.load(Ordering::SeqCst) == 0 {
                sleep(Duration::from_millis(1));
            }
            batch.transact(&put("a", 1, Expected::Absent)).unwrap();
            assert!(store.get("first").unwrap().is_none());
            store.goes_on.store(true, Ordering::SeqCst);
        });
        assert!(store.get("first").unwrap().is_some());
    }

    #[test]
    fn no_transaction_is_longer_than_etcd_takes() {
        let waiting = |changes: usize| Waiting {
            number: 0,
            changes: (0..changes)
                .flat_map(|n| put(&format!("{changes}/{n}"), 0, Expected::Anything))
                .collect(),
            tell: sync_channel(1).0,
        };
        let mut queue = vec![waiting(30), waiting(29), waiting(2), waiting(64)];
        let taken = |queue: &mut Vec<Waiting>| {
            let together = take_together(queue).into_iter();
            together
                .map(|one| one.changes.len())
                .collect::<Vec<usize>>()
        };
        assert_eq!(taken(&mut queue), [30, 29]);
        assert_eq!(taken(&mut queue), [2]);
        assert_eq!(taken(&mut queue), [64]);
        assert!(taken(&mut queue).is_empty());
    }
}
