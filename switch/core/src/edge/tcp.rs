//! DNS over TCP: one connection and its messages.
//!
//! # Theory of operation
//!
//! ```text
//! +-------------------+-------------------+----  ...  ----+
//! |      LENGTH       |      LENGTH       |    MESSAGE    |     RFC 1035 §4.2.2
//! +-------------------+-------------------+----  ...  ----+
//! ```
//!
//! A connection carries any number of messages both ways, answers in any order (RFC 7766 §6.2.1.1, §7). It reads no
//! further message while too many are unanswered or too many bytes of answers wait for the client to read them, so a client
//! that only asks, or reads slowly, fills its own window and nothing here. What waits is then bounded by what was asked
//! before: sixteen answers. A message of no or too many bytes resets the connection, and so does silence: ten seconds of a
//! client that is owed nothing, thirty of one that does not take what it asked for.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smoltcp::socket::tcp;

use super::MAX_QUERY;
use super::queries::Queries;
use super::way::{ConnectionId, ReturnPath, Way};
use crate::Time;

/// One accepted connection; its smoltcp socket lives in the stack's set.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) client: SocketAddr,
    pub(super) way: Way,
    pub(super) last_activity: Time,
    inbound: Vec<u8>,
    outbound: VecDeque<u8>,
    unanswered: usize,
    /// Stopped reading because the query table was full, so nothing but time will resume it.
    pub(super) stalled: bool,
}

/// What became of a connection in one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing to do until something arrives.
    Quiet,
    /// The socket has something to send now.
    Progress,
    /// Over: reset it.
    Reset,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, client: SocketAddr, way: Way, now: Time) -> Self {
        Self {
            id,
            client,
            way,
            last_activity: now,
            inbound: Vec::new(),
            outbound: VecDeque::new(),
            unanswered: 0,
            stalled: false,
        }
    }

    /// Moves bytes both ways between the socket, the query table and the queue of answers.
    pub(super) fn turn(
        &mut self,
        now: Time,
        socket: &mut tcp::Socket<'static>,
        queries: &mut Queries,
    ) -> Turn {
        if !self.read(now, socket, queries) {
            return Turn::Reset;
        }
        if now >= self.deadline() {
            return Turn::Reset;
        }
        let wrote = self.write(now, socket);
        let closed = self.close_when_done(socket);
        if wrote || closed {
            Turn::Progress
        } else {
            Turn::Quiet
        }
    }

    /// Queues an answer; false for one that is longer than any can be.
    pub(super) fn push_answer(&mut self, message: &[u8]) -> bool {
        self.forget_query();
        let Ok(length) = u16::try_from(message.len()) else {
            return false;
        };
        self.outbound.extend(length.to_be_bytes());
        self.outbound.extend(message);
        true
    }

    /// A query of this connection will not be answered.
    pub(super) fn forget_query(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// When the connection has been silent for too long. Unanswered queries are no silence: they expire by themselves.
    pub(super) fn deadline(&self) -> Time {
        if self.unanswered > 0 {
            Time::from_millis(u64::MAX)
        } else if self.outbound.is_empty() {
            self.last_activity + IDLE_LIMIT
        } else {
            self.last_activity + READER_LIMIT
        }
    }

    /// Bytes of answers that wait for the client to read others first.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.outbound.len()
    }

    /// Since when nothing has been owed to the client; `None` while something is.
    pub(super) fn idle_since(&self) -> Option<Time> {
        (self.unanswered == 0 && self.outbound.is_empty()).then_some(self.last_activity)
    }

    /// Takes complete messages out of the socket; false when the client broke the framing.
    fn read(
        &mut self,
        now: Time,
        socket: &mut tcp::Socket<'static>,
        queries: &mut Queries,
    ) -> bool {
        self.stalled = false;
        loop {
            if self.unanswered >= MAX_UNANSWERED || self.outbound.len() >= READ_BELOW {
                return true;
            }
            match self.next_message() {
                Inbound::Bad => return false,
                Inbound::Complete(length) => {
                    if !queries.has_room(self.way.port) {
                        self.stalled = true;
                        return true;
                    }
                    self.hand_out(now, length, queries);
                }
                Inbound::Missing(missing) => {
                    if !self.fill(now, socket, missing) {
                        return true;
                    }
                }
            }
        }
    }

    fn next_message(&self) -> Inbound {
        let Some((prefix, message)) = self.inbound.split_first_chunk::<2>() else {
            return Inbound::Missing(2 - self.inbound.len());
        };
        let length = usize::from(u16::from_be_bytes(*prefix));
        if length == 0 || length > MAX_QUERY {
            Inbound::Bad
        } else if message.len() < length {
            Inbound::Missing(length - message.len())
        } else {
            Inbound::Complete(length)
        }
    }

    fn hand_out(&mut self, now: Time, length: usize, queries: &mut Queries) {
        let message = self.inbound.get(2..2 + length).unwrap_or_default();
        let asker = (self.way.port, self.client.ip());
        if queries.admit(now, asker, ReturnPath::Tcp(self.id), message) {
            self.unanswered += 1;
        }
        self.inbound.clear();
    }

    /// Reads at most `missing` bytes; false when none are there.
    fn fill(&mut self, now: Time, socket: &mut tcp::Socket<'static>, missing: usize) -> bool {
        if !socket.can_recv() {
            return false;
        }
        let inbound = &mut self.inbound;
        let taken = socket.recv(|bytes| {
            let (now, _later) = bytes.split_at(missing.min(bytes.len()));
            inbound.extend_from_slice(now);
            (now.len(), now.len())
        });
        let progressed = taken.is_ok_and(|taken| taken > 0);
        if progressed {
            self.last_activity = now;
        }
        progressed
    }

    fn write(&mut self, now: Time, socket: &mut tcp::Socket<'static>) -> bool {
        let mut wrote = false;
        while !self.outbound.is_empty() && socket.can_send() {
            let (head, _) = self.outbound.as_slices();
            let Ok(sent @ 1..) = socket.send_slice(head) else {
                break;
            };
            self.outbound.drain(..sent);
            self.last_activity = now;
            wrote = true;
        }
        if self.outbound.is_empty() {
            self.outbound.shrink_to(0);
        }
        wrote
    }

    /// The client closed its side: close ours once nothing is owed. True when the socket has a FIN to send.
    fn close_when_done(&self, socket: &mut tcp::Socket<'static>) -> bool {
        let client_is_done = socket.state() == tcp::State::CloseWait && socket.recv_queue() == 0;
        if client_is_done && self.idle_since().is_some() {
            socket.close();
            return true;
        }
        false
    }
}

/// What the bytes read so far amount to.
enum Inbound {
    Missing(usize),
    Complete(usize),
    Bad,
}

/// A fresh socket waiting for a client on `server_port`.
pub(super) fn listener(server_port: u16) -> Option<tcp::Socket<'static>> {
    let mut socket = tcp::Socket::new(
        tcp::SocketBuffer::new(vec![0; RECEIVE_BUFFER]),
        tcp::SocketBuffer::new(vec![0; SEND_BUFFER]),
    );
    socket.listen(server_port).ok()?;
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_timeout(Some(smoltcp::time::Duration::from_millis(DEAD_PEER_MS)));
    Some(socket)
}

/// The client's address as the socket knows it.
pub(super) fn client_of(socket: &tcp::Socket<'static>) -> Option<SocketAddr> {
    let remote = socket.remote_endpoint()?;
    Some(SocketAddr::new(IpAddr::from(remote.addr), remote.port))
}

/// Silence after which a connection is reset (RFC 7766 §6.2.3 asks for seconds).
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// How long a client may leave its answers lying before the connection is reset.
const READER_LIMIT: Duration = Duration::from_secs(30);
/// smoltcp gives a client up after this much silence. Longer than our own limits, which are to speak first.
const DEAD_PEER_MS: u64 = 40_000;
/// Queries of one connection that may wait for their answers.
const MAX_UNANSWERED: usize = 16;
/// A connection reads on while its client has less than this to read, in bytes.
const READ_BELOW: usize = 16 * 1024;
const RECEIVE_BUFFER: usize = 2048;
const SEND_BUFFER: usize = 4096;
