//! Writes from the buffers that frames were read into.

use std::os::fd::AsRawFd;

use switch_core::vlan::TagChange;
use switch_core::{PortId, VnetHeader};

use crate::retag::retag;
use crate::sys::ring::{Filled, FrameRing};
use crate::worker::batch::{Places, iter};
use crate::worker::forward::Courier;
use crate::worker::table::Entry;

/// Frames in the buffers of the ring.
pub(super) struct RingCourier<'a> {
    pub(super) ring: &'a mut FrameRing,
    pub(super) received: &'a mut [Filled],
    /// Of each buffer, whose frame it has and how many bytes are written of it.
    pub(super) origins: &'a mut [(PortId, usize)],
}

impl Courier for RingCourier<'_> {
    fn envelope(&self, place: usize) -> &[u8] {
        self.ring.bytes(self.received[place])
    }

    fn start(&mut self, egress: &Entry, places: Places) -> Places {
        let Some(fd) = egress.port.device.raw_tap() else {
            return places;
        };
        iter(places).fold(0, |failed, place| {
            match self
                .ring
                .write(fd.as_raw_fd(), self.received[place], egress.port.id.0)
            {
                Ok(()) => {
                    egress.writes.set(egress.writes.get() + 1);
                    failed
                }
                Err(_) => failed | 1 << place,
            }
        })
    }

    fn settle(&mut self) {
        // What cannot be submitted now fails again, and is reported, at the end of the round.
        let _ = self.ring.submit_started();
    }

    fn retag(&mut self, place: usize, change: TagChange, vnet: &VnetHeader) -> bool {
        let received = &mut self.received[place];
        let Some(room) = self.ring.room_mut(*received) else {
            return false;
        };
        let vnet = vnet.moved(change.growth()).to_bytes();
        (received.at, received.len) = retag(room, (received.at, received.len), change, vnet);
        self.origins[usize::from(received.buffer)].1 = received.len;
        true
    }
}
