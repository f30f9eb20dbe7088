//! Writes from a worker's own buffers.

use switch_core::VnetHeader;
use switch_core::vlan::TagChange;

use super::batch::Places;
use super::forward::Courier;
use super::table::Entry;
use crate::frame_port::FrameBuffer;

/// Frames in the worker's own buffers, written one system call each.
pub(super) struct Buffers<'a>(pub(super) &'a mut [FrameBuffer]);

impl Courier for Buffers<'_> {
    fn envelope(&self, place: usize) -> &[u8] {
        self.0[place].envelope()
    }

    fn start(&mut self, _egress: &Entry, places: Places) -> Places {
        places
    }

    fn settle(&mut self) {}

    fn retag(&mut self, place: usize, change: TagChange, vnet: &VnetHeader) -> bool {
        self.0[place].retag(change, vnet);
        true
    }
}
