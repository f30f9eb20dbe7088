//! Where the last lines of a log begin.
//!
//! # Theory of operation
//!
//! A record is what was read at once: many lines, or a part of one. So the lines are counted from the end backwards, over
//! both streams together, as they were written; each stream then has a place where its first counted line begins. Only one
//! record at a time is in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::log::{LogRecord, LogStream, format, parse};

/// Where to begin, by stream.
#[derive(Debug)]
pub struct Tail([Position; 2]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    /// Of the files, the oldest first.
    file: usize,
    /// Of the record in it, in bytes.
    offset: u64,
    /// Bytes of the record that come before.
    skip: usize,
}

#[derive(Default)]
struct Stream {
    start: Option<Position>,
    /// A line was counted whose beginning is not found yet.
    is_open: bool,
}

impl Tail {
    /// Of the last `lines` lines in `files`, the oldest file first. Errors are those of reading.
    pub fn find(files: &[&File], lines: usize) -> io::Result<Self> {
        let mut streams: [Stream; 2] = Default::default();
        let mut counted = 0;
        'search: for (file, log) in files.iter().enumerate().rev() {
            let mut records = Backwards::new(log)?;
            loop {
                let end = Position {
                    file,
                    offset: records.end,
                    skip: 0,
                };
                for stream in &mut streams {
                    if counted == lines && !stream.is_open && stream.start.is_none() {
                        stream.start = Some(end);
                    }
                }
                if streams.iter().all(|stream| stream.start.is_some()) {
                    break 'search;
                }
                let Some(line) = records.next()? else { break };
                let Some(record) = parse(&line) else { continue };
                let stream = &mut streams[record.stream.index()];
                if stream.start.is_some() {
                    continue;
                }
                for (at, byte) in record.bytes.iter().enumerate().rev() {
                    if *byte != b'\n' && stream.is_open {
                        continue;
                    }
                    if counted == lines {
                        stream.start = Some(Position {
                            file,
                            offset: records.end,
                            skip: at + 1,
                        });
                        break;
                    }
                    counted += 1;
                    stream.is_open = true;
                }
            }
        }
        Ok(Self(streams.map(|stream| stream.start.unwrap_or_default())))
    }

    /// What is to be shown of the record `line`, JSON with its newline, that begins at byte `offset` of the file with that
    /// number; `None` where all of it is before the tail.
    pub fn cut(&self, file: usize, offset: u64, line: String) -> Option<String> {
        let start_of = |position: &Position| (position.file, position.offset);
        if self.0.iter().all(|start| start_of(start) < (file, offset)) {
            return Some(line);
        }
        let record = parse(line.trim_end().as_bytes())?;
        let start = self.0[record.stream.index()];
        match start_of(&start).cmp(&(file, offset)) {
            std::cmp::Ordering::Less => Some(line),
            std::cmp::Ordering::Greater => None,
            std::cmp::Ordering::Equal => format(&LogRecord {
                bytes: record.bytes.get(start.skip..)?.to_vec(),
                ..record
            }),
        }
    }
}

impl LogStream {
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// Reads whole lines of a file from its end.
struct Backwards<'f> {
    file: &'f File,
    /// Where the line before ends: after its newline, or at the beginning of the file.
    end: u64,
    /// What was read and not yet given, from `from` on.
    buffer: Vec<u8>,
    from: u64,
}

impl<'f> Backwards<'f> {
    /// What comes after the last newline is not there yet.
    fn new(file: &'f File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let mut lines = Self {
            file,
            end,
            buffer: Vec::new(),
            from: end,
        };
        lines.end = lines.last_newline()?.map_or(0, |at| at + 1);
        lines.buffer.truncate(lines.len_until(lines.end));
        Ok(lines)
    }

    /// The line that ends at [`Self::end`], without its newline; `end` is where it begins then.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.end == 0 {
            return Ok(None);
        }
        // Without the newline of the line itself.
        self.buffer.truncate(self.len_until(self.end - 1));
        self.from = self.from.min(self.end - 1);
        let begin = self.last_newline()?.map_or(0, |at| at + 1);
        let line = self.buffer.split_off(self.len_until(begin));
        self.end = begin;
        Ok(Some(line))
    }

    /// Where the last newline in the buffer is, which grows towards the beginning until there is one.
    fn last_newline(&mut self) -> io::Result<Option<u64>> {
        let mut searched = self.buffer.len();
        loop {
            let unsearched = &self.buffer[..searched];
            if let Some(at) = unsearched.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(self.from + u64::try_from(at).unwrap_or_default()));
            }
            if self.from == 0 {
                return Ok(None);
            }
            let block = self.from.min(BLOCK);
            let mut bytes = vec![0; usize::try_from(block).unwrap_or_default()];
            self.file.read_exact_at(&mut bytes, self.from - block)?;
            self.from -= block;
            searched = bytes.len();
            bytes.append(&mut self.buffer);
            self.buffer = bytes;
        }
    }

    fn len_until(&self, offset: u64) -> usize {
        let len = offset.saturating_sub(self.from);
        usize::try_from(len).unwrap_or_default()
    }
}

const BLOCK: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use proptest::prelude::*;

    use super::*;

    type Written = Vec<(bool, String)>;

    fn stream(is_error: bool) -> LogStream {
        match is_error {
            true => LogStream::Stderr,
            false => LogStream::Stdout,
        }
    }

    /// What `lines` lines show of each stream, of records in two files.
    fn tail(files: [&Written; 2], lines: usize) -> [String; 2] {
        let files = files.map(|records| {
            let mut file = tempfile::tempfile().unwrap();
            for (is_error, text) in records {
                let record = LogRecord {
                    time_s: 1.0,
                    stream: stream(*is_error),
                    bytes: text.clone().into_bytes(),
                };
                io::Write::write_all(&mut file, format(&record).unwrap().as_bytes()).unwrap();
            }
            io::Write::write_all(&mut file, b"{\"time_s\":1.").unwrap();
            file
        });
        let found = Tail::find(&files.each_ref(), lines).unwrap();
        let mut shown = [String::new(), String::new()];
        for (number, mut file) in files.into_iter().enumerate() {
            io::Seek::rewind(&mut file).unwrap();
            let (mut reader, mut offset) = (BufReader::new(file), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if !line.ends_with('\n') {
                    break;
                }
                let len = u64::try_from(line.len()).unwrap();
                if let Some(cut) = found.cut(number, offset, line) {
                    let record = parse(cut.trim_end().as_bytes()).unwrap();
                    let text = String::from_utf8(record.bytes).unwrap();
                    shown[record.stream.index()].push_str(&text);
                }
                offset += len;
            }
        }
        shown
    }

    fn written(records: &[(bool, &str)]) -> Written {
        let own = |(is_error, text): &(bool, &str)| (*is_error, (*text).to_owned());
        records.iter().map(own).collect()
    }

    #[test]
    fn lines_are_counted_and_not_records() {
        let old = written(&[(false, "one\ntwo\nthr"), (true, "bad\n")]);
        let new = written(&[(false, "ee\nfour\nfive\n"), (false, "six")]);
        let last = |lines| tail([&old, &new], lines);
        assert_eq!(last(0), ["", ""]);
        assert_eq!(last(1), ["six", ""]);
        assert_eq!(last(3), ["four\nfive\nsix", ""]);
        assert_eq!(last(4), ["three\nfour\nfive\nsix", ""]);
        assert_eq!(last(5), ["three\nfour\nfive\nsix", "bad\n"]);
        assert_eq!(last(7), ["one\ntwo\nthree\nfour\nfive\nsix", "bad\n"]);
        assert_eq!(last(usize::MAX), last(7));
    }

    #[test]
    fn a_record_longer_than_a_block_is_one_line() {
        let long = "x".repeat(3 * 16 * 1024);
        let new = written(&[(false, "one\n"), (false, &long), (false, "\n")]);
        assert_eq!(
            tail([&Vec::new(), &new], 1),
            [format!("{long}\n"), String::new()]
        );
    }

    proptest! {
        #[test]
        fn of_one_stream_exactly_the_last_lines_are_shown(
            texts in prop::collection::vec("[ab\n]{1,6}", 0..20),
            split in 0usize..20,
            lines in 0usize..12,
        ) {
            let whole = texts.concat();
            let records: Written = texts.into_iter().map(|text| (false, text)).collect();
            let (old, new) = records.split_at(split.min(records.len()));
            let kept: Vec<&str> = whole.split_inclusive('\n').collect();
            let expected = kept[kept.len().saturating_sub(lines)..].concat();
            prop_assert_eq!(
                tail([&old.to_vec(), &new.to_vec()], lines),
                [expected, String::new()]
            );
        }
    }
}
