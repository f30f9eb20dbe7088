//! Records in the store of this host, of which the agent is the only writer.
//!
//! # Theory of operation
//!
//! A change is handed over while its owner holds the lock under which it was decided, so the store sees changes of one record in
//! the order in which they were decided. It is written by a thread that takes all that wait in one transaction, and whoever
//! needs it on disk waits for that after the lock: [`Kept::wait`]. The queue holds at most a few changes for each act that runs.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};

use agent_store::{Change, Entry, Expected, OpenStore, RedbStore, Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::locks::{hold_nothing, lock};
use crate::panics::essential;

pub(crate) struct Journal {
    store: Arc<RedbStore>,
    queue: Sender<Item>,
    /// Ends the rest that the writer takes.
    rest: Mutex<Option<Sender<()>>>,
}

/// A change on its way to the disk. Dropped, it gets there all the same.
#[must_use = "the change is on disk when `wait` returns; drop it where that does not matter"]
pub(crate) struct Kept(Receiver<Result<(), StoreError>>);

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenJournal {
    #[error(transparent)]
    Store(#[from] OpenStore),
    #[error("no thread to write records with: {0}")]
    Thread(std::io::Error),
}

enum Item {
    Change(Waiting),
    Rest(Rest),
}

/// The file is another process's from the moment that this is answered until the other channel closes.
struct Rest {
    begun: SyncSender<()>,
    over: Receiver<()>,
}

struct Waiting {
    change: Change,
    /// Whether it is tried again where it fails, after whoever waited was told so.
    is_lasting: bool,
    done: SyncSender<Result<(), StoreError>>,
}

impl Kept {
    /// On disk when this returns.
    pub(crate) fn wait(self) -> Result<(), StoreError> {
        hold_nothing();
        self.0.recv().unwrap_or_else(|_| {
            Err(StoreError::Storage {
                path: "of the agent".to_owned(),
                reason: "its writer has ended, the log says why".to_owned(),
            })
        })
    }
}

impl Journal {
    pub(crate) fn open(state_dir: &Path) -> Result<Self, OpenJournal> {
        let store = Arc::new(RedbStore::open(state_dir)?);
        let (queue, waiting) = channel();
        let writer = Arc::clone(&store);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                // It writes all the same where it has more.
                let _ = agent_host::keep_file_rights();
                essential(|| write(&writer, &waiting));
            })
            .map_err(OpenJournal::Thread)?;
        Ok(Self {
            store,
            queue,
            rest: Mutex::default(),
        })
    }

    pub(crate) fn put(&self, key: &str, record: &impl Serialize) -> Kept {
        self.hand_over(Change::encode(key, record, Expected::Anything), false)
    }

    /// The record stays where this fails: for whoever can say so.
    pub(crate) fn delete(&self, key: &str) -> Kept {
        self.hand_over(Ok(Change::delete(key, Expected::Anything)), false)
    }

    /// Where this fails it is tried again with whatever comes next: for what is gone already, and would come back at the next
    /// start.
    pub(crate) fn forget(&self, key: &str) -> Kept {
        self.hand_over(Ok(Change::delete(key, Expected::Anything)), true)
    }

    /// What is understood of a record: one that is not is set aside, where [`Self::damage`] tells.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let entry = self.store.get(key)?;
        Ok(self.understand(entry)?.into_iter().next())
    }

    /// The same of all records there.
    pub(crate) fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, StoreError> {
        self.understand(self.store.list(prefix)?)
    }

    /// What was damaged of the records, a line each.
    pub(crate) fn damage(&self) -> Vec<String> {
        self.store.damage()
    }

    fn understand<T: DeserializeOwned>(
        &self,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Vec<T>, StoreError> {
        let mut records = Vec::new();
        for entry in entries {
            match entry.decode() {
                Ok(record) => records.push(record),
                Err(StoreError::Value { key, source }) => {
                    self.store.set_aside(&key, &source.to_string())?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Everything handed over so far is on disk when this returns.
    pub(crate) fn flush(&self) {
        // A deletion of nothing waits behind what came before it.
        let _ = self.delete(NOTHING).wait();
    }

    /// What was handed over is on disk when this returns, and the file is another process's. What is handed over from now on
    /// waits for [`Journal::resume`].
    pub(crate) fn rest(&self) {
        hold_nothing();
        let (begun, begins) = sync_channel(1);
        let (ends, over) = channel();
        if self.queue.send(Item::Rest(Rest { begun, over })).is_ok() {
            let _ = begins.recv();
        }
        *lock(&self.rest) = Some(ends);
    }

    pub(crate) fn resume(&self) {
        drop(lock(&self.rest).take());
    }

    fn hand_over(&self, change: Result<Change, StoreError>, is_lasting: bool) -> Kept {
        let (done, kept) = sync_channel(1);
        match change {
            Ok(change) => {
                // Without a writer the waiting end learns that it is gone.
                let _ = self.queue.send(Item::Change(Waiting {
                    change,
                    is_lasting,
                    done,
                }));
            }
            Err(error) => {
                let _ = done.send(Err(error));
            }
        }
        Kept(kept)
    }
}

/// Writes what waits until there is nobody left to write for.
fn write(store: &RedbStore, waiting: &Receiver<Item>) {
    let mut left: Vec<Change> = Vec::new();
    while let Ok(first) = waiting.recv() {
        let (mut some, mut rest) = (Vec::new(), None);
        for item in std::iter::once(first).chain(waiting.try_iter().take(CHANGES_MAX - 1)) {
            match item {
                Item::Change(change) => some.push(change),
                Item::Rest(asked) => {
                    rest = Some(asked);
                    break;
                }
            }
        }
        if !some.is_empty() {
            write_some(store, some, &mut left);
        }
        if let Some(rest) = rest {
            take_rest(store, &rest);
        }
    }
}

fn take_rest(store: &RedbStore, rest: &Rest) {
    store.rest();
    let _ = rest.begun.send(());
    // Whoever ends it says nothing.
    let _ = rest.over.recv();
    if let Err(error) = store.resume() {
        tracing::error!(%error, "nothing is put on record");
    }
}

/// `left` is what failed before, and is tried again.
fn write_some(store: &RedbStore, some: Vec<Waiting>, left: &mut Vec<Change>) {
    left.retain(|old| some.iter().all(|new| new.change.key != old.key));
    let new = some.iter().map(|one| &one.change);
    let changes: Vec<_> = left.iter().chain(new).cloned().collect();
    if store.transact(&changes).is_ok() {
        left.clear();
        return answer(some, |_| Ok(()));
    }
    // One of them may be at fault: each for itself.
    answer(some, |one| {
        let done = store.transact(std::slice::from_ref(&one.change)).map(drop);
        if done.is_err() && one.is_lasting && left.len() < LEFT_MAX {
            left.push(one.change.clone());
        }
        done
    });
}

fn answer(some: Vec<Waiting>, mut outcome: impl FnMut(&Waiting) -> Result<(), StoreError>) {
    for one in some {
        let outcome = outcome(&one);
        // Whoever does not wait has dropped the other end.
        let _ = one.done.send(outcome);
    }
}

/// Of one transaction.
const CHANGES_MAX: usize = 256;
/// Deletions that are tried again.
const LEFT_MAX: usize = 4096;
const NOTHING: &str = "agent/nothing";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_one_record_are_kept_in_the_order_in_which_they_were_decided() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        for number in 0..1000 {
            drop(journal.put("web", &number));
        }
        journal.flush();
        assert_eq!(journal.get::<u32>("web").unwrap(), Some(999));
        journal.delete("web").wait().unwrap();
        assert_eq!(journal.get::<u32>("web").unwrap(), None);
    }

    #[test]
    fn another_process_may_have_the_file_while_changes_wait() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        drop(journal.put("before", &1));
        journal.rest();
        let waits = journal.put("meanwhile", &2);
        let next = Journal::open(dir.path()).unwrap();
        assert_eq!(next.get::<u32>("before").unwrap(), Some(1));
        assert_eq!(next.get::<u32>("meanwhile").unwrap(), None);
        next.put("next", &3).wait().unwrap();
        next.rest();
        journal.resume();
        waits.wait().unwrap();
        assert_eq!(journal.get::<u32>("next").unwrap(), Some(3));
        assert_eq!(journal.get::<u32>("meanwhile").unwrap(), Some(2));
    }

    #[test]
    fn a_record_that_nobody_understands_costs_itself_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        for (key, number) in [("n/1", "1"), ("n/2", "two"), ("n/3", "3")] {
            let value: serde_json::Value =
                serde_json::from_str(number).unwrap_or_else(|_| number.into());
            journal.put(key, &value).wait().unwrap();
        }
        assert_eq!(journal.list::<u32>("n/").unwrap(), [1, 3]);
        assert_eq!(journal.get::<u32>("n/2").unwrap(), None);
        let damage = journal.damage();
        assert!(damage.len() == 1 && damage[0].contains("n/2"), "{damage:?}");
    }
}
