//! What the agent does about the signals that would end a process without a word.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Caught from the moment this exists.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// Also begins to ignore those that mean nothing here, with a line in the log each: a terminal that is closed, or a
    /// log rotation, must not take the switch away from running containers. Must be called in a runtime.
    pub(crate) fn catch() -> io::Result<Self> {
        for (kind, name) in IGNORED {
            tokio::spawn(ignore(signal(kind())?, name));
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Returns the name of the signal.
    pub(crate) async fn told_to_stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }
}

async fn ignore(mut signal: Signal, name: &'static str) {
    while signal.recv().await.is_some() {
        tracing::info!(
            signal = name,
            "ignored; the configuration is read at a start only"
        );
    }
}

type Kind = fn() -> SignalKind;
const IGNORED: [(Kind, &str); 4] = [
    (SignalKind::hangup, "SIGHUP"),
    (SignalKind::user_defined1, "SIGUSR1"),
    (SignalKind::user_defined2, "SIGUSR2"),
    (SignalKind::alarm, "SIGALRM"),
];
