//! A traffic process beside a contender, spoken to by lines.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::Background;
use crate::interrupt;
use crate::trouble::Trouble;

/// CPU seconds of the traffic processes that have ended.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) sender_s: Cell<f64>,
    pub(crate) receiver_s: Cell<f64>,
}

/// Which end of the traffic a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Sender,
    Receiver,
}

/// A traffic process. Dropping it ends it.
pub(crate) struct TrafficProcess<'l> {
    ends: &'l Ends,
    end: End,
    name: String,
    program: Option<Background>,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl<'l> TrafficProcess<'l> {
    pub(crate) fn new(ends: &'l Ends, end: End, name: String, mut child: Child) -> Self {
        let lines = forward_lines(child.stdout.take());
        let errors = forward_lines(child.stderr.take());
        Self {
            ends,
            end,
            name,
            program: Some(Background::new(child)),
            lines,
            errors,
        }
    }

    /// Sends a request to a tool and waits for the answer.
    pub(crate) fn ask<A: DeserializeOwned>(
        &mut self,
        request: &impl Serialize,
        limit: Duration,
    ) -> Result<A, Trouble> {
        self.tell(request)?;
        self.answer(limit)
    }

    /// Sends a request whose answer is fetched later.
    pub(crate) fn tell(&mut self, request: &impl Serialize) -> Result<(), Trouble> {
        let mut line =
            serde_json::to_string(request).map_err(|error| self.said(&error.to_string()))?;
        line.push('\n');
        let stdin = self
            .program
            .as_mut()
            .and_then(|program| program.child().stdin.as_mut());
        stdin
            .ok_or_else(|| std::io::ErrorKind::BrokenPipe.into())
            .and_then(|stdin| stdin.write_all(line.as_bytes()))
            .map_err(|error| self.said(&error.to_string()))
    }

    pub(crate) fn answer<A: DeserializeOwned>(&mut self, limit: Duration) -> Result<A, Trouble> {
        let line = self.line(limit)?;
        serde_json::from_str(&line).map_err(|error| self.said(&format!("{error} in {line}")))
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self, limit: Duration) -> Result<String, Trouble> {
        let deadline = Instant::now() + limit;
        loop {
            interrupt::check()?;
            match self.lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => return Err(self.said("ended")),
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    return Err(self.said(&format!("no answer within {limit:?}")));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// All of the output of a program that ends by itself.
    pub(crate) fn output(mut self, limit: Duration) -> Result<String, Trouble> {
        let deadline = Instant::now() + limit;
        let mut text = String::new();
        loop {
            interrupt::check()?;
            match self.lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(text),
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    return Err(self.said(&format!("not done within {limit:?}")));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(program) = &self.program {
            program.signal(signal);
        }
    }

    fn said(&mut self, reason: &str) -> Trouble {
        let errors: Vec<String> = self.errors.try_iter().collect();
        let reason = errors
            .last()
            .map_or_else(|| reason.to_owned(), |line| format!("{reason}: {line}"));
        Trouble::Tool {
            tool: self.name.clone(),
            reason,
        }
    }
}

impl Drop for TrafficProcess<'_> {
    fn drop(&mut self) {
        let Some(program) = self.program.take() else {
            return;
        };
        let used = program.finish();
        let sum = match self.end {
            End::Sender => &self.ends.sender_s,
            End::Receiver => &self.ends.receiver_s,
        };
        sum.set(sum.get() + used);
    }
}

/// Lines as they come, on a thread that ends with the pipe.
fn forward_lines(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(pipe) = pipe {
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}
