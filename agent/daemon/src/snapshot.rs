//! A snapshot in memory that outlives the agent, since its guardian holds the file.
//!
//! It is no file of any file system (memfd_create(2)): a restart of the host, which begins all counters anew, takes it along. What
//! is in it says [`Snapshot`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::time::{ClockId, clock_gettime};
use switch_core::{Damaged, Snapshot};

use crate::guardian::Held;

/// The file, and what was written last.
pub(crate) struct SnapshotFile {
    file: File,
    sequence: u64,
}

/// Why nothing is to be had of a snapshot that is there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadSnapshot {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl SnapshotFile {
    /// As the agent before left it; else a new one, which the guardian holds from now on.
    pub(crate) fn open(held: &Held, name: &str) -> io::Result<Self> {
        let file = match held.take(name) {
            Some(kept) => kept,
            None => {
                let made = memfd_create(name, MemfdFlags::CLOEXEC)?;
                held.hold(name, &made);
                made
            }
        };
        Ok(Self {
            file: file.into(),
            sequence: 0,
        })
    }

    /// What was written last. The next is written after it.
    pub(crate) fn read(&mut self) -> Result<Option<Snapshot>, ReadSnapshot> {
        let slots = [self.slot(0)?, self.slot(1)?];
        let newest = Snapshot::newest([&slots[0], &slots[1]])?;
        if let Some(newest) = &newest {
            self.sequence = newest.sequence;
        }
        Ok(newest)
    }

    /// In the place of the older one. An image too large for its slot is left out.
    pub(crate) fn write(&mut self, snapshot: Snapshot) -> io::Result<()> {
        self.sequence += 1;
        let snapshot = Snapshot {
            sequence: self.sequence,
            taken: since_boot(),
            ..snapshot
        };
        let image = snapshot.encode();
        if image.len() > SLOT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.file.write_all_at(&image, offset(self.sequence % 2))
    }

    fn slot(&self, slot: u64) -> io::Result<Vec<u8>> {
        let mut head = [0; Snapshot::HEAD];
        let mut image = self.bytes(slot, &mut head)?.to_vec();
        if let Some(length) = Snapshot::length(&head).filter(|length| *length <= SLOT_BYTES) {
            let mut whole = vec![0; length];
            image = self.bytes(slot, &mut whole)?.to_vec();
        }
        Ok(image)
    }

    /// As many as there are.
    fn bytes<'b>(&self, slot: u64, into: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let mut length = 0;
        while length < into.len() {
            let at = offset(slot) + u64::try_from(length).unwrap_or(0);
            match self.file.read_at(&mut into[length..], at) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&into[..length])
    }
}

/// A clock that goes on when an agent does not, and while the host sleeps.
pub(crate) fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

fn offset(slot: u64) -> u64 {
    slot * u64::try_from(SLOT_BYTES).unwrap_or(0)
}

/// What is not written takes no memory.
const SLOT_BYTES: usize = 32 << 20;
