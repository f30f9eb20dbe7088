//! What waits to be read by the command.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// Bytes from clients on their way into the command. Bounded by the credit clients have.
#[derive(Debug)]
pub(super) struct StdinQueue {
    sink: Option<OwnedFd>,
    waiting: VecDeque<(u64, Vec<u8>)>,
    written_of_first: usize,
    ends: bool,
}

impl StdinQueue {
    /// `sink` has to be non-blocking.
    pub(super) fn new(sink: Option<OwnedFd>) -> Self {
        Self {
            sink,
            waiting: VecDeque::new(),
            written_of_first: 0,
            ends: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.sink.is_some() && !self.ends
    }

    /// What to poll for writing, while something waits.
    pub(super) fn wants_writing(&self) -> Option<BorrowedFd<'_>> {
        self.sink
            .as_ref()
            .filter(|_| !self.waiting.is_empty())
            .map(AsFd::as_fd)
    }

    pub(super) fn push(&mut self, client: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.waiting.push_back((client, bytes));
        }
    }

    /// The command's input ends after what waits.
    pub(super) fn end(&mut self) {
        self.ends = true;
        self.close_if_done();
    }

    /// Lets go at once.
    pub(super) fn close(&mut self) {
        self.sink = None;
    }

    /// Hands on what the command takes now. Returns whose bytes have left the queue, and how many. What nobody will
    /// read any more leaves it too.
    pub(super) fn write(&mut self) -> Vec<(u64, u32)> {
        let mut left = Vec::new();
        while let Some((client, bytes)) = self.waiting.front() {
            let rest = &bytes[self.written_of_first..];
            let written = match &self.sink {
                None => Ok(rest.len()),
                Some(sink) => rustix::io::write(sink, rest),
            };
            match written {
                Ok(length) => {
                    left.push((*client, u32::try_from(length).unwrap_or(u32::MAX)));
                    if length == rest.len() {
                        self.waiting.pop_front();
                        self.written_of_first = 0;
                    } else {
                        self.written_of_first += length;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.sink = None,
            }
        }
        self.close_if_done();
        left
    }

    fn close_if_done(&mut self) {
        if self.ends && self.waiting.is_empty() {
            self.sink = None;
        }
    }
}
