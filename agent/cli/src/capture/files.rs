//! A capture in a file, or in files that take turns.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use agent_core::capture::Tally;

use crate::failure::Failure;

/// When another file begins, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// Bytes in a file, or the one frame more that fills it.
    pub(super) size: u64,
    /// Without it, no file is overwritten.
    pub(super) files: Option<u32>,
}

/// What is written. Every file is a whole capture: it begins with the section and the interfaces so far, and ends between two
/// blocks whatever happens.
#[derive(Debug)]
pub(super) struct Files {
    base: PathBuf,
    ring: Option<Ring>,
    number: u32,
    now: OpenFile,
    /// The section and its interfaces.
    head: Vec<u8>,
    /// Whole blocks that are not in the file yet.
    pending: Vec<u8>,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: File,
    /// Bytes, up to the end of a block.
    len: u64,
}

impl Files {
    pub(super) fn create(base: &Path, ring: Option<Ring>) -> Result<Self, Failure> {
        Ok(Self {
            now: OpenFile::create(name(base, ring, 0))?,
            base: base.to_owned(),
            ring,
            number: 0,
            head: Vec::new(),
            pending: Vec::new(),
        })
    }

    /// A block that every file begins with.
    pub(super) fn head(&mut self, block: &[u8]) {
        self.head.extend_from_slice(block);
        self.pending.extend_from_slice(block);
    }

    /// Any other block. `tally` is of what came before it.
    pub(super) fn block(&mut self, block: &[u8], tally: &Tally) -> Result<(), Failure> {
        if self.is_full() {
            self.finish(tally)?;
            self.number = self.number.wrapping_add(1);
            if let Some(files) = self.ring.and_then(|ring| ring.files) {
                self.number %= files;
            }
            self.now = OpenFile::create(name(&self.base, self.ring, self.number))?;
            self.pending.extend_from_slice(&self.head);
        }
        if block.len() < DIRECT_LEN {
            self.pending.extend_from_slice(block);
            return Ok(());
        }
        self.flush()?;
        self.now.append(block)
    }

    /// Has everything in the file that came.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.now.append(&self.pending);
        self.pending.clear();
        written
    }

    /// The last statistics go into the file.
    pub(super) fn finish(&mut self, tally: &Tally) -> Result<(), Failure> {
        tally.write(&mut self.pending);
        self.flush()
    }

    /// The same of a file that cannot take more: a few bytes may have room still.
    pub(super) fn finish_full(&mut self, tally: &Tally) {
        self.pending.clear();
        if self.now.len > 0 {
            // Without them it is a whole capture, too.
            let _ = self.finish(tally);
        } else if self.now.file.metadata().is_ok_and(|file| file.is_file()) {
            let _ = std::fs::remove_file(&self.now.path);
        }
    }

    fn is_full(&self) -> bool {
        let pending = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        self.ring
            .is_some_and(|ring| self.now.len.saturating_add(pending) >= ring.size)
    }
}

impl OpenFile {
    fn create(path: PathBuf) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        // What is captured is not for everybody.
        options.write(true).create(true).truncate(true).mode(0o600);
        match options.open(&path) {
            Ok(file) => Ok(Self { path, file, len: 0 }),
            Err(source) => Err(Failure::Write { path, source }),
        }
    }

    /// Writes whole blocks. Where there is no room for all, the file ends with the last block that was written before.
    fn append(&mut self, blocks: &[u8]) -> Result<(), Failure> {
        if let Err(source) = self.file.write_all(blocks) {
            self.cut();
            let path = self.path.clone();
            return Err(Failure::Write { path, source });
        }
        self.len = self
            .len
            .saturating_add(u64::try_from(blocks.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn cut(&mut self) {
        use io::Seek;
        // A pipe or a device keeps what it got.
        let _ = self.file.set_len(self.len);
        let _ = self.file.seek(io::SeekFrom::Start(self.len));
    }
}

/// As tcpdump numbers them, so that names sort as the files come.
fn name(base: &Path, ring: Option<Ring>, number: u32) -> PathBuf {
    let Some(ring) = ring else {
        return base.to_owned();
    };
    let digits = ring
        .files
        .map_or(1, |files| files.saturating_sub(1).to_string().len());
    let mut name = base.as_os_str().to_owned();
    name.push(format!("{number:0digits$}"));
    name.into()
}

/// Of blocks that are worth a call of their own more than a copy.
pub(super) const DIRECT_LEN: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(len: usize) -> Vec<u8> {
        vec![7; len]
    }

    #[test]
    fn names_sort_as_the_files_come() {
        let ring = |files| Some(Ring { size: 1, files });
        let base = Path::new("/tmp/lab.pcapng");
        assert_eq!(name(base, None, 0), base);
        assert_eq!(name(base, ring(None), 7), Path::new("/tmp/lab.pcapng7"));
        assert_eq!(
            name(base, ring(Some(12)), 7),
            Path::new("/tmp/lab.pcapng07")
        );
        assert_eq!(name(base, ring(Some(10)), 7), Path::new("/tmp/lab.pcapng7"));
    }

    #[test]
    fn files_take_turns_and_each_has_the_head() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("x");
        let ring = Ring {
            size: 100,
            files: Some(2),
        };
        let tally = Tally::default();
        let mut files = Files::create(&base, Some(ring)).unwrap();
        files.head(b"HEAD");
        for _ in 0..5 {
            files.block(&block(60), &tally).unwrap();
            files.flush().unwrap();
        }
        files.finish(&tally).unwrap();
        let read = |number: u32| std::fs::read(name(&base, Some(ring), number)).unwrap();
        // 60 + 60 fill a file; the fifth is alone in the first again.
        assert_eq!(read(0), [b"HEAD".to_vec(), block(60)].concat());
        assert_eq!(read(1), [b"HEAD".to_vec(), block(120)].concat());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_written_is_one_line() {
        let told = Files::create(Path::new("/nowhere/x"), None).unwrap_err();
        assert!(told.to_string().starts_with("cannot write /nowhere/x: "));
        let mut files = Files::create(Path::new("/dev/full"), None).unwrap();
        files.head(b"HEAD");
        let told = files.flush().unwrap_err().to_string();
        assert!(told.starts_with("cannot write /dev/full: "), "{told}");
        files.finish_full(&Tally::default());
        assert!(Path::new("/dev/full").exists());
    }
}
