//! How far a lab is: a line that changes on a terminal, a line for each kind of work elsewhere.

use std::io::{self, IsTerminal, Write};

use integration::lab::Progress;

/// On standard error, since standard output is for what comes of it.
pub(super) struct Line {
    is_terminal: bool,
    last: &'static str,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            last: "",
        }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let Progress { done, of, doing } = progress;
        let is_new = self.last != doing;
        self.last = doing;
        // Nobody is left to tell when standard error is closed.
        let _ = match self.is_terminal {
            true => write!(io::stderr(), "\r\x1b[K{doing}  {done}/{of}"),
            false if is_new => writeln!(io::stderr(), "{doing}"),
            false => Ok(()),
        };
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        if self.is_terminal && !self.last.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
