//! What is wrong with a lab's files, in one line with the place.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a file as people count: both from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
}

/// Something in a file that does not stand as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lab) struct Fault {
    pub(in crate::lab) at: Mark,
    pub(in crate::lab) message: String,
}

/// Why a file is no lab. Every variant is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReadLab {
    #[error("{}:{}:{}: {message}", .file.display(), .at.line, .at.column)]
    Fault {
        file: PathBuf,
        at: Mark,
        message: String,
    },
    #[error("{}: {message}", .file.display())]
    File { file: PathBuf, message: String },
}

/// What comes of reading a part of a file.
pub(in crate::lab) type Read<T> = Result<T, Fault>;

impl Fault {
    pub(in crate::lab) fn new(at: Mark, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }

    pub(in crate::lab) fn of(self, file: &Path) -> ReadLab {
        ReadLab::Fault {
            file: file.to_owned(),
            at: self.at,
            message: self.message,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A part of a file as a message shows it: short as it is written there, on one line.
pub(in crate::lab) fn shown(text: &str) -> String {
    let mut short = String::new();
    let mut room = SHOWN_MAX;
    for c in text.chars() {
        let written = match c {
            '\'' => c.to_string(),
            c => c.escape_debug().to_string(),
        };
        let Some(left) = room.checked_sub(written.chars().count()) else {
            short.push('…');
            break;
        };
        short += &written;
        room = left;
    }
    format!("\"{short}\"")
}

/// The word that is near, if one is.
pub(in crate::lab) fn nearest<'w>(
    word: &str,
    known: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    let rated = known
        .into_iter()
        .map(|other| (strsim::jaro_winkler(word, other), other));
    let best = rated.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(likeness, _)| *likeness > NEAR)
        .map(|(_, other)| other)
}

/// A word that nobody knows, with the nearest that somebody does, or all of them.
pub(in crate::lab) fn unknown(what: &str, word: &str, known: &[&str], of: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!(
            "unknown {what} {} {of}; did you mean {near:?}?",
            shown(word)
        ),
        None => format!(
            "unknown {what} {} {of}; known: {}",
            shown(word),
            known.join(", ")
        ),
    }
}

const SHOWN_MAX: usize = 60;
/// Below this, words have little to do with each other.
const NEAR: f64 = 0.75;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_as_it_is_written() {
        assert_eq!(shown("it's"), r#""it's""#);
        assert_eq!(shown("a\n\"b\""), r#""a\n\"b\"""#);
        assert_eq!(shown(&"k".repeat(60)), format!("\"{}\"", "k".repeat(60)));
        assert_eq!(shown(&"k".repeat(61)), format!("\"{}…\"", "k".repeat(60)));
        let control = shown(&"\u{17}".repeat(100));
        assert_eq!(control, format!("\"{}…\"", r"\u{17}".repeat(10)));
    }
}
