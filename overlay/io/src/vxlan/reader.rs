//! Receives from the socket and from the ring.

use std::io;

use switch_io::PacketRing;

use super::heard::Heard;
use super::line::Line;
use super::ring::Lane;
use super::unpacking::{Trains, Unpacker, VxlanPorts, unpack_packet};
use crate::intake::TRAINS;
use crate::outlet::Outlet;

/// Where datagrams come from, and what they become.
#[derive(Debug)]
pub(super) struct Reader {
    lane: Lane,
    trains: Trains,
    unpacker: Unpacker,
    /// Reads that brought frames since the last one that did not.
    busy: u32,
}

impl Reader {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            trains: Trains::new(),
            unpacker: Unpacker::new(),
            busy: 0,
        }
    }

    /// What came for the searches of paths.
    pub(super) fn heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.unpacker.heard)
    }

    /// Whether this read is one to look at the clock after: nothing came, or much did for long.
    pub(super) fn has_time(&mut self, outlet: &Outlet<'_>) -> bool {
        let has_time = outlet.is_empty() || self.busy >= BUSY_MAX;
        self.busy = if has_time { 0 } else { self.busy + 1 };
        has_time
    }

    /// Whether received datagrams wait for room.
    pub(super) fn has_backlog(&self) -> bool {
        !self.trains.are_unpacked()
    }

    /// See [`Lane::retire`].
    pub(super) fn retire(&mut self) -> bool {
        self.lane.retire() && !self.has_backlog()
    }

    /// See [`Lane::resume`].
    pub(super) const fn resume(&mut self) {
        self.lane.resume();
    }

    /// Receives until there is nothing left or the buffers are full, so that the segments of a superframe that come one by
    /// one still become one.
    pub(super) fn read(&mut self, line: &Line, ports: &VxlanPorts, outlet: &mut Outlet<'_>) {
        self.lane.follow();
        let was_empty = match self.lane.ring() {
            Some(ring) => read_ring(ring, &mut self.unpacker, line, ports, outlet) == 0,
            None => false,
        };
        if self.lane.reads_socket(was_empty) {
            self.read_socket(line, ports, outlet);
        }
        self.unpacker.finish(outlet);
    }

    fn read_socket(&mut self, line: &Line, ports: &VxlanPorts, outlet: &mut Outlet<'_>) {
        for _ in 0..ROUNDS {
            if self.trains.are_unpacked() {
                match self.trains.receive(&line.receiver) {
                    Ok(()) => self.lane.received(self.trains.arrival()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return self.lane.socket_is_empty();
                    }
                    Err(_) => continue,
                }
            }
            self.trains.unpack(&mut self.unpacker, line, ports, outlet);
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
    line: &Line,
    ports: &VxlanPorts,
    outlet: &mut Outlet<'_>,
) -> usize {
    let mut count = 0;
    while count < ROUNDS * TRAINS
        && unpacker.has_room(outlet)
        && let Some(packet) = ring.front()
    {
        unpack_packet(unpacker, packet, line, ports, outlet);
        ring.release();
        count += 1;
    }
    count
}

/// Receives of one read: a flood of datagrams that are for nobody must not hold the worker.
const ROUNDS: usize = 32;
/// Reads in a row.
const BUSY_MAX: u32 = 64;
