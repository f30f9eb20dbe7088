//! Datagrams taken off the link, before the IP stack has worked on them.
//!
//! # Theory of operation
//!
//! A datagram on its way to a UDP socket passes netfilter, routing and the socket's queue, and costs a share of a system call;
//! when each packet comes by itself, that is more than what the tunnel does. So under load a *packet ring* at the link takes
//! what is for the tunnel, and a *gate*, a rule at the link's ingress behind it, keeps the same packets from the stack. The
//! socket stays open: it holds the port, and receives what the ring does not take.
//!
//! The [`Lane`] belongs to the trunk's reader and says what to read. A [`keeper`] thread, which may wait, opens and closes ring
//! and gate:
//!
//! ```text
//!            many single datagrams            ring and gate stand            the socket is empty
//!   Socket ------------------------> Asked -----------------------> Filled ----------------------> Ring
//!     ^ ^                              | no                                                         | strays
//!     | +------------------------------+                                                            v
//!     +------------------------------------ Closing <---------------------------------------------- Leaving
//!          the ring is empty                            the gate is open
//! ```
//!
//! Trains (`UDP_GRO`) are cheaper than a ring, and flows must not be spread over two queues. So what asks for a ring is load in
//! single datagrams, and what ends it is a train, or anything in number, that still comes by the socket: fragments, another link,
//! the gate removed by somebody. The next try waits longer each time. The keeper shuts the gate only after the ring has seen the
//! load. Where IPsec unpacks the datagrams, the ring never sees them. Where the host is meant to see them, there is no ring
//! ([`Host::stands_back`]); when that begins while the ring is used, the keeper opens the gate, and what comes by the socket ends the
//! ring.
//!
//! Nothing is left behind, in whatever order things end: the rule lives in a table that belongs to the process which made it
//! (`flags owner`), and that process ends with ours, however ours ends.

mod gate;
mod judge;
mod keeper;
mod packets;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use switch_io::PacketRing;

pub(super) use self::judge::Arrival;
use self::judge::Judge;
use self::keeper::{Answer, Ask};
use super::StandsBack;
use crate::readiness::Readiness;

/// The host that a ring is for.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) local: Ipv4Addr,
    /// The program.
    pub(super) nft: PathBuf,
    pub(super) stands_back: Option<StandsBack>,
}

impl Host {
    /// What on the host is meant to see the datagrams.
    fn stands_back(&self) -> Option<String> {
        self.stands_back?(&self.nft)
    }
}

/// What the reader reads.
#[derive(Debug)]
pub(super) struct Lane {
    state: State,
    judge: Judge,
    /// Absent where there is no ring to be had.
    keeper: Option<Keeper>,
    /// Reads in a row that found the ring empty.
    empty: u32,
    /// Reads since the socket was read.
    skipped: u32,
    /// While another run is about to read the socket: no ring.
    is_retired: bool,
}

#[derive(Debug)]
enum State {
    Socket,
    Asked,
    Filled(PacketRing),
    Ring(PacketRing),
    Leaving(PacketRing),
    Closing(PacketRing),
}

/// The reader's end of the keeper, which ends when this is dropped.
#[derive(Debug)]
struct Keeper {
    asks: SyncSender<Ask>,
    answers: Receiver<Answer>,
}

impl Lane {
    /// The socket alone.
    pub(super) fn new() -> Self {
        Self {
            state: State::Socket,
            judge: Judge::new(),
            keeper: None,
            empty: 0,
            skipped: 0,
            is_retired: false,
        }
    }

    /// The socket, and under load a ring, in the network namespace of the calling thread.
    pub(super) fn with_ring(host: Host, readiness: Arc<Readiness>) -> std::io::Result<Self> {
        let (asks, answers) = keeper::start(host, readiness)?;
        Ok(Self {
            keeper: Some(Keeper { asks, answers }),
            ..Self::new()
        })
    }

    /// Takes the keeper's answers; call it before each read.
    pub(super) fn follow(&mut self) {
        if !matches!(self.state, State::Asked | State::Leaving(_)) {
            return;
        }
        let Some(keeper) = &self.keeper else { return };
        let Ok(answer) = keeper.answers.try_recv() else {
            return;
        };
        self.state = match (std::mem::replace(&mut self.state, State::Socket), answer) {
            (State::Asked, Answer::Opened(ring)) => State::Filled(ring),
            (State::Leaving(ring), Answer::Closed) => closing(ring),
            (_, _) => {
                self.judge.failed(Instant::now());
                State::Socket
            }
        };
    }

    /// The ring, if that is to be read now.
    pub(super) fn ring(&mut self) -> Option<&mut PacketRing> {
        match &mut self.state {
            State::Ring(ring) | State::Leaving(ring) | State::Closing(ring) => Some(ring),
            State::Socket | State::Asked | State::Filled(_) => None,
        }
    }

    /// The ring was read, as far as there is one; whether the socket is to be read too. `was_empty`: nothing was in the ring.
    pub(super) fn reads_socket(&mut self, was_empty: bool) -> bool {
        self.empty = if was_empty { self.empty + 1 } else { 0 };
        self.skipped += 1;
        let is_due = self.empty >= EMPTY || self.skipped > SKIPPED_MAX;
        match &self.state {
            State::Closing(_) if !was_empty => return false,
            State::Closing(_) => self.state = State::Socket,
            State::Ring(_) if !is_due => return false,
            // Else a link that is down would call the reader again and again.
            State::Ring(ring) if ring.take_error().is_err() => self.leave(),
            State::Leaving(ring) if is_due => drop(ring.take_error()),
            _ => {}
        }
        self.skipped = 0;
        true
    }

    /// What a read of the socket gave.
    pub(super) fn received(&mut self, arrival: Arrival) {
        let Some(keeper) = &self.keeper else { return };
        match &self.state {
            State::Socket
                if !self.is_retired
                    && self.judge.wants_ring(arrival, Instant::now)
                    && keeper.asks.try_send(Ask::Open).is_ok() =>
            {
                self.state = State::Asked;
            }
            State::Ring(_) if self.judge.wants_socket(arrival) => self.leave(),
            _ => {}
        }
    }

    /// The socket was found empty.
    pub(super) fn socket_is_empty(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Socket) {
            State::Filled(ring) => State::Ring(ring),
            state => state,
        };
    }

    /// Reads the socket alone as soon as it can, until [`Self::resume`]. Whether it does.
    pub(super) fn retire(&mut self) -> bool {
        self.is_retired = true;
        self.leave();
        matches!(self.state, State::Socket)
    }

    /// May read a ring again.
    pub(super) const fn resume(&mut self) {
        self.is_retired = false;
    }

    fn leave(&mut self) {
        let (Some(keeper), State::Ring(_)) = (&self.keeper, &self.state) else {
            return;
        };
        self.judge.failed(Instant::now());
        // The keeper waits for nothing else now; if it is gone, so is the gate.
        let is_asked = keeper.asks.try_send(Ask::Close).is_ok();
        self.state = match std::mem::replace(&mut self.state, State::Socket) {
            State::Ring(ring) if is_asked => State::Leaving(ring),
            State::Ring(ring) => closing(ring),
            state => state,
        };
    }
}

/// The ring takes no more, so that it is empty soon.
fn closing(ring: PacketRing) -> State {
    match ring.stop() {
        Ok(()) => State::Closing(ring),
        Err(_) => State::Socket,
    }
}

/// A worker reads until there is nothing, so finding nothing once means little; twice, that something else called it.
const EMPTY: u32 = 2;
/// Reads of a busy ring after which the socket is looked at once.
const SKIPPED_MAX: u32 = 16;
