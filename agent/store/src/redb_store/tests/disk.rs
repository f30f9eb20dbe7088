//! A disk that is made up: it forgets at a power cut what was not synced, and fails when it is told to.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Database, StorageBackend};

use super::random::Random;

/// What the file reads as, and what is on the platter.
#[derive(Debug, Default)]
pub(super) struct Disk(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    cache: Vec<u8>,
    platter: Vec<u8>,
    /// Written since the last sync: sectors, by offset.
    dirty: Vec<(usize, Vec<u8>)>,
    acts: u64,
    /// The act before which a power cut is looked at, and what was on the platter then.
    cut: Option<(u64, Random)>,
    image: Option<Vec<u8>>,
}

impl Disk {
    pub(super) fn database(self: &Arc<Self>) -> Database {
        let builder = Database::builder();
        builder
            .create_with_backend(Handle(Arc::clone(self)))
            .unwrap()
    }

    /// The power is cut some `acts` from now.
    pub(super) fn cut_after(&self, acts: u64, random: Random) {
        let mut state = self.0.lock().unwrap();
        state.cut = Some((state.acts + acts, random));
        state.image = None;
    }

    /// What was on the disk when the power was cut, once it was.
    pub(super) fn image(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().image.take()
    }
}

impl State {
    /// Counts an act. At a power cut any of the sectors that wait are on the disk, in any order, and the others are not.
    fn act(&mut self) {
        self.acts += 1;
        let Some((_, mut random)) = self.cut.take_if(|(at, _)| *at <= self.acts) else {
            return;
        };
        let mut image = self.platter.clone();
        let all = random.one_in(4);
        for (at, sector) in &self.dirty {
            if all || random.one_in(2) {
                write(&mut image, *at, sector);
            }
        }
        self.image = Some(image);
    }
}

fn write(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

#[derive(Debug)]
struct Handle(Arc<Disk>);

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().unwrap().cache.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let found = state.cache.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// A file system keeps the length with its journal: at once, or not at all.
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.act();
        let len = usize::try_from(len).unwrap();
        state.cache.resize(len, 0);
        state.platter.resize(len, 0);
        state.dirty.retain(|(at, _)| at + SECTOR <= len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.act();
        state.platter = state.cache.clone();
        state.dirty.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.act();
        let start = usize::try_from(offset).unwrap();
        write(&mut state.cache, start, data);
        let sectors = start / SECTOR..(start + data.len()).div_ceil(SECTOR);
        for sector in sectors {
            let at = sector * SECTOR;
            let end = (at + SECTOR).min(state.cache.len());
            let bytes = state.cache[at..end].to_vec();
            state.dirty.push((at, bytes));
        }
        Ok(())
    }
}

/// What a disk writes as a whole.
const SECTOR: usize = 512;
