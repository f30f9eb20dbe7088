//! Envelopes (see [`switch_io::FramePort`]) as tunnels handle them.

use std::io;

use switch_core::{Frame, VnetHeader};
use switch_io::Written;

/// The parts of an envelope. A worker wrote it, so this only fails for what no worker writes.
pub(crate) fn open(envelope: &[u8]) -> Option<(VnetHeader, Frame<'_>)> {
    let (header, bytes) = envelope.split_at_checked(VnetHeader::LEN)?;
    let frame = Frame::parse(bytes).ok()?;
    let vnet = VnetHeader::validate(header, &frame).ok()?;
    Some((vnet, frame))
}

/// What became of `frames` frames of `bytes` bytes in all that were sent together.
pub(crate) fn fate(frames: u64, bytes: u64, result: io::Result<()>) -> Written {
    let mut written = Written::default();
    let Err(error) = result else {
        written.frames = frames;
        written.bytes = bytes;
        return written;
    };
    let place = match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => &mut written.full,
        Some(libc::ENETDOWN | libc::ENETUNREACH | libc::EHOSTUNREACH) => &mut written.down,
        _ => &mut written.refused,
    };
    *place = frames;
    written
}
