//! What was recorded, as pcapng.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use switch_core::pcapng::{
    self, Interface, Packet, Statistics, write_interface, write_packet, write_section,
    write_statistics,
};
use switch_core::{Frame, RawVnet, VnetHeader};
use switch_io::capture::{Capture, Direction, Record};

/// Writes a capture into a buffer, from which it is sent.
pub(super) struct Encoder {
    filter: String,
    snap_len: u32,
    /// By interface, as far as they are described.
    counted: Vec<Counted>,
    /// What the capture had lost when it was last asked.
    lost: u64,
    /// And what of that no frame was there to tell with.
    untold: u64,
    frame: Vec<u8>,
    pub(super) out: Vec<u8>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    taken: u64,
    lost: u64,
    /// What the statistics said last.
    said: Option<(u64, u64)>,
}

impl Encoder {
    pub(super) fn new(filter: String, snap_len: u32) -> Self {
        let mut out = Vec::new();
        let by = concat!("tapestry ", env!("CARGO_PKG_VERSION"));
        write_section(&mut out, by);
        Self {
            filter,
            snap_len,
            counted: Vec::new(),
            lost: 0,
            untold: 0,
            frame: Vec::new(),
            out,
        }
    }

    /// How many interfaces are described.
    pub(super) fn described(&self) -> usize {
        self.counted.len()
    }

    /// Describes the interfaces that come next, by their names.
    pub(super) fn describe(&mut self, names: Vec<String>) {
        for name in names {
            let interface = Interface {
                name: name.into(),
                filter: Cow::Borrowed(&self.filter),
                snap_len: self.snap_len,
            };
            write_interface(&mut self.out, &interface);
            self.counted.push(Counted::default());
        }
    }

    /// What was lost until now is told with the next frame.
    pub(super) fn note_lost(&mut self, capture: &Capture) {
        let lost = capture.lost();
        self.untold += lost.saturating_sub(std::mem::replace(&mut self.lost, lost));
    }

    /// Writes a frame.
    pub(super) fn record(&mut self, record: &Record<'_>) {
        let Some(counted) = self.counted.get_mut(record.interface) else {
            return;
        };
        let lost = std::mem::take(&mut self.untold);
        counted.taken += 1;
        counted.lost += lost;
        self.packet(record, lost);
    }

    fn packet(&mut self, record: &Record<'_>, lost: u64) {
        let bytes = completed(record, &mut self.frame);
        let packet = Packet {
            interface: u32::try_from(record.interface).unwrap_or(u32::MAX),
            nanos: nanos(record.time),
            direction: Some(match record.direction {
                Direction::In => pcapng::Direction::Inbound,
                Direction::Out => pcapng::Direction::Outbound,
            }),
            original_len: u32::try_from(record.original_len).unwrap_or(u32::MAX),
            bytes,
            lost,
            comment: comment(record, lost).into(),
        };
        write_packet(&mut self.out, &packet);
    }

    /// Writes what was counted, where that is news, or in any case at the end, with the reason for it.
    pub(super) fn statistics(&mut self, capture: &Capture, end: Option<&str>) {
        // The first interface stands for what no frame was there to tell.
        let mut untold = self.untold + capture.lost().saturating_sub(self.lost);
        for (interface, counted) in (0..).zip(&mut self.counted) {
            let lost = counted.lost + std::mem::take(&mut untold);
            let now = (counted.taken, lost);
            if counted.said == Some(now) && end.is_none() {
                continue;
            }
            counted.said = Some(now);
            let statistics = Statistics {
                interface,
                nanos: nanos(SystemTime::now()),
                accepted: counted.taken + lost,
                lost,
                comment: end.unwrap_or_default().into(),
            };
            write_statistics(&mut self.out, &statistics);
        }
    }
}

/// The frame with the checksum that its sender left open, where all of it is there. A superframe is none that was ever on a wire: its
/// checksum stays as it is.
fn completed<'a>(record: &Record<'a>, room: &'a mut Vec<u8>) -> &'a [u8] {
    let is_open = record.vnet.open_checksum().is_some() && !record.vnet.is_superframe();
    if !is_open || record.bytes.len() < record.original_len {
        return record.bytes;
    }
    let Some(vnet) = validated(&record.vnet, record.bytes) else {
        return record.bytes;
    };
    room.clear();
    room.extend_from_slice(record.bytes);
    vnet.complete_checksum(room);
    room
}

fn validated(vnet: &RawVnet, bytes: &[u8]) -> Option<VnetHeader> {
    let frame = Frame::parse(bytes).ok()?;
    VnetHeader::validate(&vnet.to_bytes(), &frame).ok()
}

/// Not every reader shows the count.
fn comment(record: &Record<'_>, lost: u64) -> String {
    let dropped = record.dropped.map(|why| format!("dropped: {}", why.name()));
    let lost = (lost > 0).then(|| format!("the capture lost {lost} frames before this one"));
    let parts: Vec<_> = dropped.into_iter().chain(lost).collect();
    parts.join("; ")
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
