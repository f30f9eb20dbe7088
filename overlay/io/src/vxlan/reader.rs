//! Receives for all the ports of a tunnel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use switch_io::{Capabilities, FrameBuffer, FramePort, PacketRing, Written};

use super::Shared;
use super::ring::Lane;
use super::unpacking::{Trains, Unpacker, unpack_packet};
use crate::intake::TRAINS;
use crate::outlet::Outlet;

/// The receiving side of a tunnel; for [`switch_io::Switch::add_trunk`].
#[derive(Debug)]
pub struct VxlanTrunk {
    shared: Arc<Shared>,
    /// Only the trunk's reader locks it.
    reader: Mutex<Reader>,
}

/// Where datagrams come from, and what they become.
#[derive(Debug)]
struct Reader {
    lane: Lane,
    trains: Trains,
    unpacker: Unpacker,
}

impl VxlanTrunk {
    pub(super) fn new(shared: Arc<Shared>, lane: Lane) -> Self {
        Self {
            shared,
            reader: Mutex::new(Reader {
                lane,
                trains: Trains::new(),
                unpacker: Unpacker::new(),
            }),
        }
    }
}

impl FramePort for VxlanTrunk {
    /// Receives until there is nothing left or the buffers are full, so that the segments of a superframe that come one by
    /// one still become one.
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outlet = Outlet::new(buffers);
        let readiness = &self.shared.readiness;
        readiness.lower();
        if self.shared.answers.drain(&mut outlet) {
            readiness.raise();
        }
        reader.read(&self.shared, &mut outlet);
        // Stays readable while received datagrams wait, though the socket may be empty.
        if !reader.trains.are_unpacked() {
            readiness.raise();
        }
        match outlet.finish() {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        Written {
            refused: u64::try_from(envelopes.len()).unwrap_or(0),
            ..Written::default()
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.readiness.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }
}

impl Reader {
    fn read(&mut self, shared: &Shared, outlet: &mut Outlet<'_>) {
        self.lane.follow();
        let was_empty = match self.lane.ring() {
            Some(ring) => read_ring(ring, &mut self.unpacker, shared, outlet) == 0,
            None => false,
        };
        if self.lane.reads_socket(was_empty) {
            self.read_socket(shared, outlet);
        }
        self.unpacker.finish(outlet);
    }

    fn read_socket(&mut self, shared: &Shared, outlet: &mut Outlet<'_>) {
        for _ in 0..ROUNDS {
            if self.trains.are_unpacked() {
                match self.trains.receive(shared) {
                    Ok(()) => self.lane.received(self.trains.arrival()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return self.lane.socket_is_empty();
                    }
                    Err(_) => continue,
                }
            }
            self.trains.unpack(&mut self.unpacker, shared, outlet);
            if !self.trains.are_unpacked() {
                return;
            }
            if self.trains.were_last() {
                return self.lane.socket_is_empty();
            }
        }
    }
}

/// Fills buffers with the frames of packets in the ring, until there are none or no more room; how many packets there were.
fn read_ring(
    ring: &mut PacketRing,
    unpacker: &mut Unpacker,
    shared: &Shared,
    outlet: &mut Outlet<'_>,
) -> usize {
    let mut count = 0;
    while count < ROUNDS * TRAINS
        && unpacker.has_room(outlet)
        && let Some(packet) = ring.front()
    {
        unpack_packet(unpacker, packet, shared, outlet);
        ring.release();
        count += 1;
    }
    count
}

/// Receives of one read: a flood of datagrams that are for nobody must not hold the worker.
const ROUNDS: usize = 32;
