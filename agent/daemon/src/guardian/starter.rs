//! Starting agents, from a thread that gives nothing up.
//!
//! What a process may do, it inherits from the thread that started it. So the process's first thread starts agents, and hears
//! nothing but that it shall; the one that hears the agent is confined ([`super::confine`]).

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};

use agent_container::Given;
use tokio::process::Command;
use tokio::runtime::Handle;

use super::line::{Hearing, Line};
use super::{GUARDED, Running};

/// The thread that starts agents, until nobody asks it any more.
pub(super) struct Starter {
    asked: Receiver<()>,
    answer: Sender<io::Result<Running>>,
    /// What to run, found at the start: a newer binary may stand there later.
    program: PathBuf,
    /// What the guardian was given, which the agent is to have again.
    given: Given,
}

/// By which it is asked.
pub(super) struct Agents {
    ask: Sender<()>,
    answered: Receiver<io::Result<Running>>,
}

pub(super) fn starter(given: Given) -> io::Result<(Starter, Agents)> {
    let (ask, asked) = channel();
    let (answer, answered) = channel();
    let starter = Starter {
        asked,
        answer,
        program: std::env::current_exe()?,
        given,
    };
    Ok((starter, Agents { ask, answered }))
}

impl Starter {
    /// The agents belong to the runtime of whoever asks.
    pub(super) fn serve(self, runtime: &Handle) {
        let _entered = runtime.enter();
        while self.asked.recv().is_ok() {
            if self.answer.send(self.start()).is_err() {
                return;
            }
        }
    }

    /// The agent proper, with its end of the line as its standard input.
    fn start(&self) -> io::Result<Running> {
        let (near, far) = Line::pair()?;
        let child = Command::new(&self.program)
            .args(std::env::args_os().skip(1))
            .arg(GUARDED)
            // What they say is for the guardian: it has the descriptors, and is the process that the service manager knows.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .envs(self.given.variables())
            .stdin(Stdio::from(far.into_end()))
            .spawn()?;
        let hearing = Hearing::of(near)?;
        Ok(Running { child, hearing })
    }
}

impl Agents {
    pub(super) fn start(&self) -> io::Result<Running> {
        let gone = || io::Error::other("the thread that starts agents has ended");
        self.ask.send(()).map_err(|_| gone())?;
        self.answered.recv().map_err(|_| gone())?
    }
}
