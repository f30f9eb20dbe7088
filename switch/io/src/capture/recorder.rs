//! The switch's end of a capture.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use switch_core::{PortId, VnetHeader, lock};

use super::lane::{Head, Lane};
use super::sight::Sight;
use super::{CaptureId, Interface, Shared};

/// What a port is dressed with, to have its frames recorded.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub(super) shared: Arc<Shared>,
    /// What the records of a port say, once it has a port.
    interface: u32,
}

impl Recorder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            interface: u32::MAX,
        }
    }

    pub fn capture(&self) -> CaptureId {
        self.shared.id
    }

    /// Whether nobody reads any more.
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended.load(Ordering::Relaxed)
    }

    /// The same for the frames of a port. Its records say that they are of this one. `None`: it has had as many ports as it can.
    pub(crate) fn of(&self, port: PortId, name: &str) -> Option<Self> {
        let mut interfaces = self.shared.interfaces();
        let interface = Interface {
            port,
            name: name.to_owned(),
        };
        let known = interfaces.iter().rposition(|known| *known == interface);
        let position = known.unwrap_or(interfaces.len());
        if position == interfaces.len() {
            if position >= INTERFACES_MAX {
                return None;
            }
            interfaces.push(interface);
        }
        Some(Self {
            shared: Arc::clone(&self.shared),
            interface: u32::try_from(position).ok()?,
        })
    }

    /// Copies a frame that `worker` sees, where it is wanted and there is room.
    pub(crate) fn record(&self, worker: usize, sight: &Sight<'_>) {
        let shared = &*self.shared;
        let Some((header, frame)) = sight.envelope.split_at_checked(VnetHeader::LEN) else {
            return;
        };
        if self.has_ended() {
            return;
        }
        let wanted = self.wanted(frame);
        if wanted == 0 {
            return;
        }
        let room = Lane::room_for(wanted);
        if shared.waiting.fetch_add(room, Ordering::Relaxed) + room > shared.settings.capacity_bytes
        {
            shared.waiting.fetch_sub(room, Ordering::Relaxed);
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let head = Head::new(self.interface, sight, header, frame.len());
        lock(&shared.lanes[worker % shared.lanes.len()]).push(head, &frame[..wanted]);
        shared.recorded.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    /// How many bytes of the frame.
    fn wanted(&self, frame: &[u8]) -> usize {
        let settings = &self.shared.settings;
        let by_filter = settings.filter.as_ref().map(|filter| filter.run(frame));
        let most = by_filter.unwrap_or(u32::MAX).min(settings.snaplen);
        frame.len().min(usize::try_from(most).unwrap_or(usize::MAX))
    }

    fn tell(&self) {
        if !self.shared.is_told.load(Ordering::SeqCst)
            && !self.shared.is_told.swap(true, Ordering::SeqCst)
        {
            // The counter saturates long after "readable", so a failed write changes nothing.
            let _ = rustix::io::write(&self.shared.event, &1_u64.to_ne_bytes());
        }
    }
}

/// Ports that a capture can have had, so that it stays bounded while they come and go.
const INTERFACES_MAX: usize = 16_384;
