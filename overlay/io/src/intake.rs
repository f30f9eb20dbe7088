//! Received trains of datagrams.

use std::io::{self, IoSliceMut};

use quinn_udp::RecvMeta;

use crate::socket::{RECEIVE_LEN_MAX, TunnelSocket};

/// Buffers that are received into, many short trains or a few long ones at once.
#[derive(Debug)]
pub(crate) struct Intake {
    trains: Vec<Box<[u8]>>,
    metas: [RecvMeta; TRAINS],
    received: usize,
    /// Whether the last trains were long.
    are_long: bool,
    /// Whether the socket had no more.
    is_drained: bool,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self {
            trains: (0..TRAINS)
                .map(|_| vec![0; RECEIVE_LEN_MAX].into_boxed_slice())
                .collect(),
            metas: [RecvMeta::default(); TRAINS],
            received: 0,
            are_long: false,
            is_drained: false,
        }
    }

    /// How many trains there are.
    pub(crate) const fn count(&self) -> usize {
        self.received
    }

    /// Whether the socket was left empty.
    pub(crate) const fn is_drained(&self) -> bool {
        self.is_drained
    }

    pub(crate) fn meta(&self, train: usize) -> RecvMeta {
        self.metas[train]
    }

    pub(crate) fn is_long(&self, train: usize) -> bool {
        self.metas[train].len > LONG
    }

    pub(crate) fn bytes(&self, train: usize) -> &[u8] {
        &self.trains[train][..self.metas[train].len]
    }

    pub(crate) fn bytes_mut(&mut self, train: usize) -> &mut [u8] {
        &mut self.trains[train][..self.metas[train].len]
    }

    /// Replaces the trains by what `receive` fills buffers with, one by one, until it fails.
    pub(crate) fn take(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> io::Result<RecvMeta>,
    ) -> io::Result<()> {
        self.received = 0;
        for (train, meta) in self.trains.iter_mut().zip(&mut self.metas) {
            match receive(train) {
                Ok(received) => *meta = received,
                Err(error) if self.received == 0 => return Err(error),
                Err(_) => break,
            }
            self.received += 1;
        }
        self.is_drained = self.received < TRAINS;
        Ok(())
    }

    /// Replaces the trains by what the socket has.
    pub(crate) fn receive(&mut self, socket: &TunnelSocket) -> io::Result<()> {
        self.received = 0;
        self.is_drained = true;
        let mut slices = self.trains.iter_mut().map(|train| IoSliceMut::new(train));
        let mut slices: [IoSliceMut<'_>; TRAINS] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let count = if self.are_long { LONG_TRAINS } else { TRAINS };
        self.received = socket.receive(&mut slices[..count], &mut self.metas)?;
        self.are_long = (0..self.received).any(|train| self.is_long(train));
        // The end of a superframe may follow a long train.
        self.is_drained = self.received < count && !self.are_long;
        Ok(())
    }
}

/// Trains received at once, a single datagram being the shortest of trains.
pub(crate) const TRAINS: usize = quinn_udp::BATCH_SIZE;
/// The same when they are long, so that what was received is still cached when it is unpacked.
const LONG_TRAINS: usize = 4;
/// Length of a long train, in bytes.
const LONG: usize = 16_384;
