//! Frames in another form than they came in.

use switch_core::vlan::{Shape, Tag};

use super::batch::{Batch, Classified};
use crate::frame_port::FrameBuffer;

/// Copies of frames of a batch, with other tags. Buffers are made when they are first needed.
#[derive(Default)]
pub(super) struct Variants {
    batch: Batch,
    buffers: Vec<FrameBuffer>,
}

impl Variants {
    pub(super) fn clear(&mut self) {
        self.batch.clear();
    }

    /// Copies a frame in its envelope.
    pub(super) fn add(&mut self, envelope: &[u8], frame: &Classified, (tag, shape): (Tag, Shape)) {
        let place = self.batch.len();
        if self.buffers.len() <= place {
            self.buffers.push(FrameBuffer::new());
        }
        let buffer = &mut self.buffers[place];
        buffer.fill(envelope);
        buffer.retag(tag.change(shape), &frame.vnet);
        self.batch.push(frame.changed(tag, shape));
    }

    /// Which they are, and where their bytes are.
    pub(super) fn parts(&mut self) -> (&Batch, &mut [FrameBuffer]) {
        (&self.batch, &mut self.buffers)
    }
}

impl Classified {
    /// The same of the frame in another form.
    pub(super) fn changed(&self, tag: Tag, shape: Shape) -> Self {
        Self {
            vnet: self.vnet.moved(tag.change(shape).growth()),
            tag: Some(tag.changed(shape)),
            ..*self
        }
    }
}
