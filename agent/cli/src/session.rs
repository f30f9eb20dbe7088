//! Foreground sessions: our standard streams joined to those of a command in a container.

use std::io::{self, IsTerminal};
use std::path::Path;

use agent_container::attach::{AttachSession, Session, SessionOptions};

use crate::failure::{Failure, SHIM_DIED};

/// `-t` with `-i` hands our terminal on, so there has to be one. Asked before anything is made.
pub(crate) fn require_terminal(options: SessionOptions) -> Result<(), Failure> {
    if options.tty && options.interactive && !io::stdin().is_terminal() {
        return Err(Failure::said(
            "the input device is not a TTY; leave -t out where the input is no terminal",
        ));
    }
    Ok(())
}

pub(crate) fn attach(socket: &Path, options: SessionOptions) -> Result<Session, Failure> {
    Session::open(socket, options).map_err(failure)
}

/// Passes everything on until the command ends. Returns its exit status.
pub(crate) fn relay(session: Session) -> Result<u8, Failure> {
    let code = session.run().map_err(failure)?;
    // A process ends with 0 to 255.
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

fn failure(error: AttachSession) -> Failure {
    match error {
        AttachSession::Output(error) => Failure::Output(error),
        AttachSession::Signal(signo) => Failure::Said {
            message: format!("{error}; the command still runs: tapestry ps"),
            code: u8::try_from(128 + signo).unwrap_or(u8::MAX),
        },
        AttachSession::Lost => Failure::Said {
            message: error.to_string(),
            code: SHIM_DIED,
        },
        error => Failure::said(error.to_string()),
    }
}
