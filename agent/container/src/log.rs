//! The output of a command, kept.
//!
//! # Theory of operation
//!
//! One JSON object a line, one line for what was read at once:
//!
//! ```text
//! {"time_s":1764000000.25,"stream":"stdout","text":"hello\n"}
//! {"time_s":1764000001.5,"stream":"stderr","hex":"ff00"}
//! ```
//!
//! `hex` stands for bytes that are no UTF-8, or hardly text; a character cut by a read waits for its rest, so text stays text, and either
//! way [`records`] gives back the very bytes. At 10 MiB `log` becomes `log.1`, and the `log.1` before is
//! gone: the disk holds at most twice that. A failure to write costs the record and never the command.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Where the bytes came from. A terminal's are standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// What was read at once.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// Seconds since the epoch.
    pub time_s: f64,
    pub stream: LogStream,
    pub bytes: Vec<u8>,
}

/// The records that are kept of the log at this path (`<container dir>/log`), oldest first.
///
/// A line that is no record (cut short by a full disk) is left out. No log, no records.
pub fn records(log: &Path) -> io::Result<impl Iterator<Item = io::Result<LogRecord>> + use<>> {
    let mut files = Vec::new();
    for path in [rotated(log), log.to_owned()] {
        match File::open(path) {
            Ok(file) => files.push(BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files
        .into_iter()
        .flat_map(|file| file.split(b'\n'))
        .filter_map(|line| match line {
            Ok(line) => parse(&line).map(Ok),
            Err(error) => Some(Err(error)),
        }))
}

/// The shim's side.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    file: File,
    length: u64,
    limit: u64,
    cut_characters: [Vec<u8>; 2],
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    time_s: f64,
    stream: LogStream,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

impl LogWriter {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, FILE_LIMIT)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        let file = append_to(path)?;
        Ok(Self {
            path: path.to_owned(),
            length: file.metadata()?.len(),
            file,
            limit,
            cut_characters: [Vec::new(), Vec::new()],
        })
    }

    pub(crate) fn append(&mut self, stream: LogStream, bytes: &[u8]) {
        let cut = &mut self.cut_characters[stream.index()];
        let mut whole = std::mem::take(cut);
        whole.extend_from_slice(bytes);
        let kept = whole.len() - cut_character_length(&whole);
        *cut = whole.split_off(kept);
        self.write(stream, &whole);
    }

    /// Writes what waited for the rest of a character.
    pub(crate) fn finish(&mut self) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let rest = std::mem::take(&mut self.cut_characters[stream.index()]);
            self.write(stream, &rest);
        }
    }

    fn write(&mut self, stream: LogStream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let record = LogRecord {
            time_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64()),
            stream,
            bytes: bytes.to_vec(),
        };
        let Some(line) = format(&record) else { return };
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.length > 0 && self.length + length > self.limit {
            self.rotate();
        }
        if self.file.write_all(line.as_bytes()).is_ok() {
            self.length += length;
        }
    }

    fn rotate(&mut self) {
        let _ = std::fs::rename(&self.path, rotated(&self.path));
        if let Ok(file) = append_to(&self.path) {
            self.file = file;
            self.length = 0;
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// Where the older half of a log is, once it has grown to its bound.
pub fn rotated(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// How many bytes at the end begin a character whose rest has not come; 0 where the bytes are no text anyway.
fn cut_character_length(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.len() - error.valid_up_to(),
        _ => 0,
    }
}

/// Six characters stand for a control character in JSON, two for any byte in `hex`.
fn is_mostly_controls(bytes: &[u8]) -> bool {
    let controls = bytes
        .iter()
        .filter(|byte| **byte < b' ' && !matches!(**byte, b'\n' | b'\r' | b'\t'))
        .count();
    controls > bytes.len() / 4
}

/// A record as one line of a log, with its newline.
pub(crate) fn format(record: &LogRecord) -> Option<String> {
    let text = std::str::from_utf8(&record.bytes)
        .ok()
        .filter(|_| !is_mostly_controls(&record.bytes));
    let line = Line {
        time_s: record.time_s,
        stream: record.stream,
        text: text.map(Into::into),
        hex: text.is_none().then(|| to_hex(&record.bytes)),
    };
    let mut line = serde_json::to_string(&line).ok()?;
    line.push('\n');
    Some(line)
}

/// One line of a log. `None` where it is no record.
pub fn parse(line: &[u8]) -> Option<LogRecord> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let bytes = match (line.text, line.hex) {
        (Some(text), None) => text.into_owned().into_bytes(),
        (None, Some(hex)) => from_hex(&hex)?,
        _ => return None,
    };
    Some(LogRecord {
        time_s: line.time_s,
        stream: line.stream,
        bytes,
    })
}

fn to_hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        hex.push(char::from(HEX_DIGITS[usize::from(byte >> 4)]));
        hex.push(char::from(HEX_DIGITS[usize::from(byte & 15)]));
    }
    hex
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok())
        .collect()
}

/// Bytes of one file of a log, as Docker's users choose most often.
/// Name of the log in a container's directory.
pub const FILE: &str = "log";
const FILE_LIMIT: u64 = 10 * 1024 * 1024;
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_back(path: &Path, stream: LogStream) -> Vec<u8> {
        records(path)
            .unwrap()
            .map(Result::unwrap)
            .filter(|record| record.stream == stream)
            .flat_map(|record| record.bytes)
            .collect()
    }

    proptest! {
        #[test]
        fn the_very_bytes_of_both_streams_come_back(
            chunks in prop::collection::vec(
                (any::<bool>(), prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40),
                    ".{0,20}".prop_map(String::into_bytes),
                ]), 0..30),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let mut log = LogWriter::open(&path).unwrap();
            let mut expected = [Vec::new(), Vec::new()];
            for (to_stderr, bytes) in &chunks {
                let stream = if *to_stderr { LogStream::Stderr } else { LogStream::Stdout };
                log.append(stream, bytes);
                expected[stream.index()].extend_from_slice(bytes);
            }
            log.finish();
            prop_assert_eq!(read_back(&path, LogStream::Stdout), expected[0].clone());
            prop_assert_eq!(read_back(&path, LogStream::Stderr), expected[1].clone());
        }
    }

    #[test]
    fn a_character_cut_by_a_read_stays_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::open(&path).unwrap();
        let (head, tail) = "grün\n".as_bytes().split_at(3);
        log.append(LogStream::Stdout, head);
        log.append(LogStream::Stdout, tail);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("hex"));
        assert_eq!(read_back(&path, LogStream::Stdout), "grün\n".as_bytes());
    }

    #[test]
    fn the_disk_holds_at_most_two_files_and_the_newest_output() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::with_limit(&path, 1000).unwrap();
        for number in 0..200 {
            log.append(LogStream::Stdout, format!("{number}\n").as_bytes());
        }
        let names = std::fs::read_dir(dir.path()).unwrap();
        let lengths: Vec<u64> = names
            .map(|name| name.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(lengths.len(), 2);
        assert!(lengths.iter().all(|length| *length <= 1000));
        assert!(read_back(&path, LogStream::Stdout).ends_with(b"198\n199\n"));
    }

    #[test]
    fn a_line_cut_short_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(
            &path,
            "{\"time_s\":1.0,\"stream\":\"stdout\",\"text\":\"a\"}\n{\"time",
        )
        .unwrap();
        assert_eq!(read_back(&path, LogStream::Stdout), b"a");
    }
}
