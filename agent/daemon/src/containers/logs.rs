//! A container's log, as it stands and as it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_api::ApiError;
use tokio::sync::mpsc;

use agent_container::{Tail, log, read_exit};

use super::Containers;

impl Containers {
    /// Lines of the log, the last `tail` of them where given, then those that come if `follow`, until the command ends and is
    /// not started again.
    pub(crate) fn logs(
        self: &Arc<Self>,
        called: &str,
        follow: bool,
        tail: Option<usize>,
    ) -> Result<mpsc::Receiver<String>, ApiError> {
        let id = self.find(called)?.record.id;
        let dir = self.dir(&id);
        let containers = Arc::clone(self);
        // The end is looked for where the shim keeps it, before anybody else has seen it.
        let is_over = move |dir: &Path| {
            let has_ended = !matches!(read_exit(dir), Ok(None)) || !dir.exists();
            has_ended && !containers.goes_on(&id)
        };
        let (sender, receiver) = mpsc::channel(LINES_QUEUED_MAX);
        self.ground
            .runtime
            .spawn_blocking(move || send(&dir, follow.then_some(is_over), tail, &sender));
        Ok(receiver)
    }
}

/// Goes on until it is over, or ends with the log as it stands.
fn send(
    dir: &Path,
    follow: Option<impl Fn(&Path) -> bool>,
    tail: Option<usize>,
    to: &mpsc::Sender<String>,
) {
    let mut reader = Reader::open(dir.join(log::FILE));
    let end = reader.end();
    let tail = match tail.map(|lines| reader.tail(lines)).transpose() {
        Ok(tail) => tail,
        Err(error) => {
            tracing::warn!(%error, "the end of a log cannot be found; all of it is shown");
            None
        }
    };
    loop {
        // The end is looked for before the last read, so that nothing written before it is missed.
        let over = follow.as_ref().is_none_or(|is_over| is_over(dir));
        while let Some((file, offset, line)) = reader.next() {
            if follow.is_none() && (file, offset) >= end {
                return;
            }
            let shown = match &tail {
                Some(tail) => tail.cut(file, offset, line),
                None => Some(line),
            };
            if let Some(line) = shown
                && to.blocking_send(line).is_err()
            {
                return;
            }
        }
        if over || to.is_closed() {
            return;
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
}

/// Reads a log, a line at a time, as it grows, and goes on with the next file when one is rotated away.
struct Reader {
    path: PathBuf,
    /// The one that is read first, and the rest; numbered from 0.
    files: VecDeque<LogFile>,
    next_number: usize,
}

struct LogFile {
    number: usize,
    reader: BufReader<File>,
    inode: u64,
    offset: u64,
}

impl Reader {
    fn open(path: PathBuf) -> Self {
        let mut reader = Self {
            files: VecDeque::new(),
            next_number: 0,
            path,
        };
        // The newer one first: what is rotated away in between is the same file then, and not missed.
        let newer = open(&reader.path);
        let older = open(&log::rotated(&reader.path));
        let inode = newer.as_ref().map(|(_, inode)| *inode);
        for (file, inode) in older
            .filter(|(_, older)| Some(*older) != inode)
            .into_iter()
            .chain(newer)
        {
            reader.push(file, inode);
        }
        reader
    }

    fn push(&mut self, file: File, inode: u64) {
        self.files.push_back(LogFile {
            number: self.next_number,
            reader: BufReader::new(file),
            inode,
            offset: 0,
        });
        self.next_number += 1;
    }

    fn tail(&self, lines: usize) -> io::Result<Tail> {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|file| file.reader.get_ref())
            .collect();
        Tail::find(&files, lines)
    }

    /// Where the log ends now.
    fn end(&self) -> (usize, u64) {
        let len = |file: &LogFile| {
            file.reader
                .get_ref()
                .metadata()
                .map_or(0, |data| data.len())
        };
        self.files
            .back()
            .map_or((0, 0), |file| (file.number, len(file)))
    }

    /// The next whole line, with its file and where it begins there; `None` where it is not written yet.
    fn next(&mut self) -> Option<(usize, u64, String)> {
        loop {
            let front = self.files.front_mut();
            if let Some(line) = front.and_then(LogFile::next) {
                return Some(line);
            }
            if self.files.len() < 2 {
                let read = self.files.front().map(|file| file.inode);
                let (file, inode) = open(&self.path)?;
                if Some(inode) == read {
                    return None;
                }
                self.push(file, inode);
                if read.is_none() {
                    continue;
                }
                // Something may have come just before the file was rotated away.
                if let Some(line) = self.files.front_mut().and_then(LogFile::next) {
                    return Some(line);
                }
            }
            self.files.pop_front();
        }
    }
}

impl LogFile {
    fn next(&mut self) -> Option<(usize, u64, String)> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).ok()?;
        let len = u64::try_from(read).unwrap_or_default();
        if !line.ends_with('\n') {
            // A line cut short is read again next time. Seeking within a regular file only fails when it is closed.
            let _ = self.reader.seek(SeekFrom::Start(self.offset));
            return None;
        }
        let begin = self.offset;
        self.offset += len;
        Some((self.number, begin, line))
    }
}

fn open(path: &Path) -> Option<(File, u64)> {
    let file = File::open(path).ok()?;
    let inode = file.metadata().ok()?.ino();
    Some((file, inode))
}

const LINES_QUEUED_MAX: usize = 256;
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next())
            .map(|(_, _, line)| line)
            .collect()
    }

    #[test]
    fn both_files_are_read_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(lines(&mut Reader::open(path.clone())).is_empty());
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(lines(&mut Reader::open(path.clone())), ["two\n"]);
        std::fs::write(dir.path().join("log.1"), "one\n").unwrap();
        let mut reader = Reader::open(path.clone());
        assert_eq!(reader.end(), (1, 4));
        assert_eq!(lines(&mut reader), ["one\n", "two\n"]);
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(dir.path().join("log.1"), &path).unwrap();
        assert_eq!(lines(&mut Reader::open(path)), ["one\n"]);
    }

    #[test]
    fn a_reader_goes_over_to_the_new_file_and_waits_for_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "one\ntw").unwrap();
        let mut reader = Reader::open(path.clone());
        assert_eq!(lines(&mut reader), ["one\n"]);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"o\n")
            .unwrap();
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(lines(&mut reader), ["two\n", "three\n"]);
    }
}
