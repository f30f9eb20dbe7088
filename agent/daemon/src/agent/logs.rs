//! A container's log, as it stands and as it grows.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_api::ApiError;
use tokio::sync::mpsc;

use super::Agent;
use crate::container::{log, read_exit};

impl Agent {
    /// Lines of the log, the last `tail` of them where given, then those that come until the command ends if `follow`.
    pub(crate) fn logs(
        &self,
        called: &str,
        follow: bool,
        tail: Option<usize>,
    ) -> Result<mpsc::Receiver<String>, ApiError> {
        let dir = {
            let state = self.state();
            self.container_dir(&state.container(called)?.record.id)
        };
        let (sender, receiver) = mpsc::channel(LINES_QUEUED_MAX);
        self.runtime
            .spawn_blocking(move || send(&dir, follow, tail, &sender));
        Ok(receiver)
    }
}

fn send(dir: &Path, follow: bool, tail: Option<usize>, to: &mpsc::Sender<String>) {
    let current = dir.join(log::FILE);
    let mut lines = read_lines(&log::rotated(&current));
    let mut reader = Follower::open(current);
    lines.extend(reader.lines());
    let skipped = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
    for line in lines.into_iter().skip(skipped) {
        if to.blocking_send(line).is_err() {
            return;
        }
    }
    if !follow {
        return;
    }
    loop {
        // The end is looked for before the last read, so that nothing written before it is missed.
        let over = !matches!(read_exit(dir), Ok(None)) || !dir.exists();
        for line in reader.lines() {
            if to.blocking_send(line).is_err() {
                return;
            }
        }
        if over || to.is_closed() {
            return;
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
}

/// Reads a file as it grows, and goes on with the next when it is rotated away.
struct Follower {
    path: PathBuf,
    open: Option<(BufReader<File>, u64)>,
}

impl Follower {
    fn open(path: PathBuf) -> Self {
        let mut follower = Self { path, open: None };
        follower.reopen();
        follower
    }

    /// Whole lines that have come since the last call.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = self
            .open
            .as_mut()
            .map(|(file, _)| rest(file))
            .unwrap_or_default();
        let inode = std::fs::metadata(&self.path)
            .ok()
            .map(|metadata| metadata.ino());
        if inode.is_some() && inode != self.open.as_ref().map(|(_, inode)| *inode) {
            self.reopen();
            lines.extend(
                self.open
                    .as_mut()
                    .map(|(file, _)| rest(file))
                    .unwrap_or_default(),
            );
        }
        lines
    }

    fn reopen(&mut self) {
        let file = File::open(&self.path).ok();
        self.open = file.and_then(|file| {
            file.metadata()
                .ok()
                .map(|metadata| (BufReader::new(file), metadata.ino()))
        });
    }
}

fn read_lines(path: &Path) -> Vec<String> {
    File::open(path)
        .map(|file| rest(&mut BufReader::new(file)))
        .unwrap_or_default()
}

/// Whole lines up to the end; a line cut short is read again next time.
fn rest(file: &mut BufReader<File>) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match file.read_line(&mut line) {
            Ok(read) if line.ends_with('\n') => {
                debug_assert_ne!(read, 0);
                lines.push(line);
            }
            Ok(read) => {
                let back = i64::try_from(read).unwrap_or(0);
                // Seeking within a regular file only fails when it is closed.
                let _ = file.seek(SeekFrom::Current(-back));
                return lines;
            }
            Err(_) => return lines,
        }
    }
}

const LINES_QUEUED_MAX: usize = 256;
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_follower_goes_over_to_the_new_file_and_waits_for_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "one\ntw").unwrap();
        let mut follower = Follower::open(path.clone());
        assert_eq!(follower.lines(), ["one\n"]);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"o\n")
            .unwrap();
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(follower.lines(), ["two\n", "three\n"]);
    }
}
