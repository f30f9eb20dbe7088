//! Where a trunk puts the frames it reads.

use overlay_core::{DatagramHeader, Run};
use switch_core::{PortId, VnetHeader};
use switch_io::FrameBuffer;

/// Buffers of a worker, filled from the front.
pub struct Outlet<'a> {
    buffers: &'a mut [FrameBuffer],
    count: usize,
    /// What the buffer behind those is being filled with.
    run: Option<(PortId, Run)>,
}

impl<'a> Outlet<'a> {
    pub(crate) const fn new(buffers: &'a mut [FrameBuffer]) -> Self {
        Self {
            buffers,
            count: 0,
            run: None,
        }
    }

    /// Ends the last frame; how many there are.
    pub(crate) fn finish(&mut self) -> usize {
        self.end_run();
        self.count
    }

    /// Whether there is no frame yet.
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0 && self.run.is_none()
    }

    /// Whether that many more frames fit.
    pub(crate) const fn has_room(&self, frames: usize) -> bool {
        self.count + self.run.is_some() as usize + frames <= self.buffers.len()
    }

    /// Takes a frame that came from `port`; the caller made sure that there is room.
    pub(crate) fn put(&mut self, port: PortId, vnet: &[u8; VnetHeader::LEN], bytes: &[u8]) {
        self.end_run();
        let Some(buffer) = self.buffers.get_mut(self.count) else {
            return;
        };
        let room = buffer.bare_space();
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.seal(port, vnet, len);
    }

    /// Takes a piece that came from `port` and can go on by itself, joined to the last one if it continues that; `false` if
    /// it cannot. The caller made sure that there is room for a frame.
    pub(crate) fn join(&mut self, port: PortId, header: &DatagramHeader, body: &[u8]) -> bool {
        if let Some((holder, run)) = &mut self.run
            && *holder == port
            && let Some(buffer) = self.buffers.get_mut(self.count)
            && run.join(header, body, buffer.bare_space())
        {
            return true;
        }
        self.end_run();
        let Some(buffer) = self.buffers.get_mut(self.count) else {
            return false;
        };
        self.run = Run::begin(header, body, buffer.bare_space()).map(|run| (port, run));
        self.run.is_some()
    }

    fn end_run(&mut self) {
        if let Some((port, run)) = self.run.take()
            && let Some(buffer) = self.buffers.get_mut(self.count)
        {
            let vnet = run.finish(buffer.bare_space());
            self.seal(port, &vnet, run.len());
        }
    }

    /// The next buffer holds a frame of `len` bytes.
    fn seal(&mut self, port: PortId, vnet: &[u8; VnetHeader::LEN], len: usize) {
        let buffer = &mut self.buffers[self.count];
        buffer.set_bare_len(len);
        buffer.envelope_mut()[..VnetHeader::LEN].copy_from_slice(vnet);
        buffer.set_origin(port);
        self.count += 1;
    }
}
