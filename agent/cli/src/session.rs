//! Foreground sessions: our standard streams joined to those of a command in a container.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::Path;

use crate::failure::Failure;

/// Which of our streams the command gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    pub(crate) interactive: bool,
    pub(crate) tty: bool,
}

/// A connection to a command's streams.
pub(crate) struct Session;

impl Session {
    pub(crate) async fn attach(_socket: &Path, _streams: Streams) -> Result<Self, Failure> {
        Err(Failure::said("not wired yet"))
    }

    /// Passes everything on until the command ends. Returns its exit status.
    pub(crate) async fn relay(self) -> Result<u8, Failure> {
        Ok(0)
    }
}

/// `-t` with `-i` hands our terminal on, so there has to be one.
pub(crate) fn require_terminal(interactive: bool) -> Result<(), Failure> {
    if interactive && !io::stdin().is_terminal() {
        return Err(Failure::said(
            "the input device is not a TTY; leave -t out where input is no terminal",
        ));
    }
    Ok(())
}

/// Becomes the supervisor of a container.
pub(crate) fn shim(_dir: &Path) -> Result<u8, Failure> {
    Err(Failure::said("not wired yet"))
}

/// Becomes process 1 of a container.
pub(crate) fn init(_arguments: &[OsString]) -> Result<u8, Failure> {
    Err(Failure::said("not wired yet"))
}
