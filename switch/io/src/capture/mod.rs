//! Copies of the frames that pass ports, for whoever wants to see them.
//!
//! # Theory of operation
//!
//! A [`Capture`] is the reader's end. Ports are dressed with its [`Recorder`], any number of them
//! ([`Switch::dress`](crate::Switch::dress)), and a port may wear several. Workers see a frame as the switch does: what comes from a
//! station after the impairments of its link, with what became of it; what goes to a station before them. A superframe is one frame,
//! and a checksum that is open stays so, which the record says.
//!
//! Each worker has a lane of its own, so that none waits for another. A frame that the filter wants is copied there, as much of it as
//! is wanted. All lanes together hold so many bytes; a frame that finds no room is lost to the capture, and counted. The reader
//! exchanges each lane for an empty one, in a moment, and has as long as it likes for what it took: traffic never waits for it.
//!
//! An eventfd is set with the first frame after a read. Who expects many should let them gather for some milliseconds before it reads:
//! waking it for each takes time from the workers.

mod lane;
mod recorder;
mod sight;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use rustix::event::{EventfdFlags, eventfd};
use switch_core::bpf::Program;
use switch_core::{PortId, lock};

use self::lane::Lane;
pub use self::lane::{Record, Records};
pub use self::recorder::Recorder;
pub use self::sight::Direction;
pub(crate) use self::sight::Sight;

/// What is to be captured, and how much of it.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// Most bytes of a frame, from its Ethernet header on.
    pub snaplen: u32,
    /// Bytes that may wait to be read. As many again may be with the reader.
    pub capacity_bytes: usize,
    /// `None`: every frame.
    pub filter: Option<Program>,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self {
            // As tcpdump.
            snaplen: 262_144,
            capacity_bytes: 16 << 20,
            filter: None,
        }
    }
}

/// The reader's end of a capture. It ends when this is dropped; ports that wear it then wear it in vain until they are undressed.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
}

/// Which capture: for undressing ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CaptureId(u64);

/// A port that was dressed with a capture, by the name that it was given then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub port: PortId,
    pub name: String,
}

#[derive(Debug)]
struct Shared {
    id: CaptureId,
    settings: CaptureSettings,
    /// By worker.
    lanes: Vec<Mutex<Lane>>,
    /// In the order of their records' [`Record::interface`].
    interfaces: Mutex<Vec<Interface>>,
    /// Bytes in all lanes.
    waiting: AtomicUsize,
    recorded: AtomicU64,
    lost: AtomicU64,
    event: OwnedFd,
    /// The event is set, or about to be.
    is_told: AtomicBool,
    has_ended: AtomicBool,
}

impl Capture {
    pub fn new(settings: CaptureSettings) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let lanes = std::iter::repeat_with(Mutex::default);
        Ok(Self {
            shared: Arc::new(Shared {
                id: CaptureId(NEXT.fetch_add(1, Ordering::Relaxed)),
                settings,
                lanes: lanes.take(LANES).collect(),
                interfaces: Mutex::default(),
                waiting: AtomicUsize::new(0),
                recorded: AtomicU64::new(0),
                lost: AtomicU64::new(0),
                event,
                is_told: AtomicBool::new(false),
                has_ended: AtomicBool::new(false),
            }),
        })
    }

    pub fn id(&self) -> CaptureId {
        self.shared.id
    }

    /// What ports are dressed with.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(Arc::clone(&self.shared))
    }

    /// Takes what was recorded since the last time, in place of what `records` held. Returns how many records it is.
    pub fn read_into(&self, records: &mut Records) -> usize {
        self.acknowledge();
        let taken = records.refill(&self.shared.lanes);
        self.shared.waiting.fetch_sub(taken, Ordering::Relaxed);
        records.len()
    }

    /// The ports that were ever dressed with it: a record names its port by the position here. It only grows.
    pub fn interfaces(&self) -> Vec<Interface> {
        self.shared.interfaces().clone()
    }

    /// Frames that were recorded, read or not.
    pub fn recorded(&self) -> u64 {
        self.shared.recorded.load(Ordering::Relaxed)
    }

    /// Frames that were wanted and found no room.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Before the lanes are looked at, so that what comes after that tells again.
    fn acknowledge(&self) {
        let _ = rustix::io::read(&self.shared.event, &mut [0; 8]);
        self.shared.is_told.store(false, Ordering::SeqCst);
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
    }
}

impl AsFd for Capture {
    /// Readable when something was recorded since the last read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

/// As [`AsFd`], for tokio's `AsyncFd`.
impl AsRawFd for Capture {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }
}

impl Shared {
    fn interfaces(&self) -> MutexGuard<'_, Vec<Interface>> {
        lock(&self.interfaces)
    }
}

/// Workers of a switch beyond these share lanes.
const LANES: usize = 8;

#[cfg(test)]
mod tests;
