//! Who is attached, and what waits to be sent to each.
//!
//! # Theory of operation
//!
//! Every client has a queue of at most [`QUEUE_LIMIT`] bytes of output (and the few small messages about what happens).
//! What happens at the limit depends on the role. An observer misses output until it has read everything, and then is
//! told how much. An interactive client holds the command back, as the reader of a pipe does, but not forever: when it
//! has taken nothing for [`STALL_LIMIT`], it is treated like an observer until it has read everything. The log is written
//! before any of this and misses nothing. A client that breaks the protocol is cut off.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::attach::{Decoder, Event, MAX_PAYLOAD, Message, Request, Role};

#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    /// `None` until it has said so.
    pub(super) role: Option<Role>,
    stream: UnixStream,
    decoder: Decoder,
    queue: Vec<u8>,
    sent: usize,
    /// Bytes of standard input it may still send.
    credit: usize,
    skipped: u64,
    /// Misses output rather than holding the command back.
    lags: bool,
    full_since: Option<Instant>,
    broken: bool,
}

impl Client {
    pub(super) fn new(id: u64, stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            id,
            role: None,
            stream,
            decoder: Decoder::default(),
            queue: Vec::new(),
            sent: 0,
            credit: 0,
            skipped: 0,
            lags: false,
            full_since: None,
            broken: false,
        })
    }

    pub(super) fn is_interactive(&self) -> bool {
        self.role == Some(Role::Interactive)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.broken
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.queue_length() == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue_length() >= QUEUE_LIMIT
    }

    /// Whether the command has to wait for this client.
    pub(super) fn holds_back(&self) -> bool {
        self.is_interactive() && !self.lags && self.is_full()
    }

    pub(super) fn cut_off(&mut self) {
        self.broken = true;
    }

    pub(super) fn grant(&mut self, bytes: u32) {
        self.credit = self
            .credit
            .saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.send(&Event::Window(bytes));
    }

    /// Takes a payload of standard input off the client's credit; `false` where it has not that much.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        match self.credit.checked_sub(bytes) {
            Some(credit) => {
                self.credit = credit;
                true
            }
            None => false,
        }
    }

    /// Queues a message about what happens.
    pub(super) fn send(&mut self, event: &Event) {
        self.enqueue(&event.to_bytes());
        // Only one that asks and asks and never reads gets here.
        if self.queue_length() > 2 * QUEUE_LIMIT {
            self.broken = true;
        }
    }

    /// Queues output; `message` is an event with `length` bytes of it. While [`Self::holds_back`] there should be none.
    pub(super) fn send_output(&mut self, message: &[u8], length: usize, now: Instant) {
        if !matches!(self.role, Some(Role::Interactive | Role::Observer)) {
            return;
        }
        let waits = self.is_interactive() && !self.lags;
        let full = self.is_full() && !waits;
        let waits_for_empty = self.skipped > 0 && !self.is_flushed();
        if full || waits_for_empty {
            self.skipped += u64::try_from(length).unwrap_or(u64::MAX);
            return;
        }
        self.tell_skipped();
        self.enqueue(message);
        if self.is_full() {
            self.full_since.get_or_insert(now);
        }
    }

    pub(super) fn tell_skipped(&mut self) {
        if self.skipped > 0 {
            let skipped = std::mem::take(&mut self.skipped);
            self.send(&Event::Skipped(skipped));
        }
    }

    /// Sends what the client takes now.
    pub(super) fn flush(&mut self) {
        while self.sent < self.queue.len() && !self.broken {
            match self.stream.write(&self.queue[self.sent..]) {
                Ok(0) => self.broken = true,
                Ok(length) => {
                    self.sent += length;
                    self.full_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.broken = true,
            }
        }
        if self.is_flushed() {
            self.queue.clear();
            self.sent = 0;
            self.lags = false;
        } else if self.sent > QUEUE_LIMIT / 2 {
            self.queue.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Notices a client that took nothing for too long.
    pub(super) fn check_stall(&mut self, now: Instant) {
        if !self.is_full() {
            self.full_since = None;
            return;
        }
        let since = *self.full_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= STALL_LIMIT {
            self.lags = true;
        }
    }

    /// What the client asks for. A closed or odd stream makes it gone, after the requests before.
    pub(super) fn read(&mut self) -> Vec<Request> {
        let mut buffer = [0; MAX_PAYLOAD];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.broken = true,
            Ok(length) => self.decoder.push(&buffer[..length]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => self.broken = true,
        }
        let mut requests = Vec::new();
        loop {
            match self.decoder.decode() {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => return requests,
                Err(_) => {
                    self.broken = true;
                    return requests;
                }
            }
        }
    }

    fn enqueue(&mut self, bytes: &[u8]) {
        self.queue.extend_from_slice(bytes);
    }

    fn queue_length(&self) -> usize {
        self.queue.len() - self.sent
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Bytes; a quarter of a second of a fast build's output.
const QUEUE_LIMIT: usize = 1024 * 1024;
/// Long enough for a person with a pager, short enough that a forgotten one stops nobody's work.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn client(role: Role) -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(1, ours).unwrap();
        client.role = Some(role);
        (client, theirs)
    }

    fn fill(client: &mut Client, now: Instant) {
        let message = Event::Stdout(vec![b'x'; MAX_PAYLOAD]).to_bytes();
        for _ in 0..40 {
            if !client.holds_back() {
                client.send_output(&message, MAX_PAYLOAD, now);
            }
        }
    }

    fn events(stream: &mut UnixStream, client: &mut Client) -> Vec<Event> {
        stream.set_nonblocking(true).unwrap();
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            client.flush();
            match stream.read(&mut buffer) {
                Ok(length) => decoder.push(&buffer[..length]),
                Err(_) => return events,
            }
            while let Some(event) = decoder.decode().unwrap() {
                events.push(event);
            }
        }
    }

    #[test]
    fn an_observer_that_does_not_read_misses_output_and_is_told_how_much() {
        let now = Instant::now();
        let (mut client, mut stream) = client(Role::Observer);
        fill(&mut client, now);
        assert!(!client.holds_back());
        let kept = events(&mut stream, &mut client).len();
        assert!(kept < 40);
        client.send_output(&Event::Stdout(vec![1]).to_bytes(), 1, now);
        let missed = (40 - kept) * MAX_PAYLOAD;
        assert_eq!(
            events(&mut stream, &mut client),
            [
                Event::Skipped(u64::try_from(missed).unwrap()),
                Event::Stdout(vec![1])
            ]
        );
    }

    #[test]
    fn an_interactive_client_holds_the_command_back_for_a_limited_time() {
        let now = Instant::now();
        let (mut client, mut stream) = client(Role::Interactive);
        fill(&mut client, now);
        client.check_stall(now + STALL_LIMIT / 2);
        assert!(client.holds_back());
        client.check_stall(now + STALL_LIMIT);
        assert!(!client.holds_back());
        events(&mut stream, &mut client);
        assert!(!client.lags);
    }

    #[test]
    fn a_watcher_gets_no_output() {
        let (mut client, mut stream) = client(Role::Watcher);
        client.send_output(&Event::Stdout(vec![1]).to_bytes(), 1, Instant::now());
        client.send(&Event::Exit(3));
        assert_eq!(events(&mut stream, &mut client), [Event::Exit(3)]);
    }
}
