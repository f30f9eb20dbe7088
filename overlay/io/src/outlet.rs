//! Where a trunk puts the frames it reads.

use switch_core::{PortId, VnetHeader};
use switch_io::FrameBuffer;

/// Buffers of a worker, filled from the front.
pub(crate) struct Outlet<'a> {
    buffers: &'a mut [FrameBuffer],
    count: usize,
}

impl<'a> Outlet<'a> {
    pub(crate) const fn new(buffers: &'a mut [FrameBuffer]) -> Self {
        Self { buffers, count: 0 }
    }

    /// How many frames were put.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Whether that many more frames fit.
    pub(crate) const fn has_room(&self, frames: usize) -> bool {
        self.count + frames <= self.buffers.len()
    }

    /// Takes a frame that came from `port`; the caller made sure that there is room.
    pub(crate) fn put(&mut self, port: PortId, vnet: &[u8; VnetHeader::LEN], bytes: &[u8]) {
        let Some(buffer) = self.buffers.get_mut(self.count) else {
            return;
        };
        let room = buffer.bare_space();
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        buffer.set_bare_len(len);
        buffer.envelope_mut()[..VnetHeader::LEN].copy_from_slice(vnet);
        buffer.set_origin(port);
        self.count += 1;
    }
}
