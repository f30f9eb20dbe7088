//! A patch between two bridges: what is written to one of its ports is read at the other.
//!
//! Both directions are bounded queues. They are first in, first out for all frames alike, whichever port those came by: a
//! flow crosses in its order. A frame that finds the queue full is dropped and counted at the port it was written to. When
//! one port is dropped, the other drains what was queued and then sees the end.

use std::io;
use std::os::fd::BorrowedFd;

use crate::channel_port::{Queues, crossed};
use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};

/// One side of a patch.
#[derive(Debug)]
pub struct PatchPort(Queues);

/// Makes the two ports of a patch. Each direction queues up to `capacity` frames.
pub fn patch(capacity: usize) -> io::Result<(PatchPort, PatchPort)> {
    let (one, other) = crossed(capacity)?;
    Ok((PatchPort(one), PatchPort(other)))
}

impl FramePort for PatchPort {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        self.0.read(buffers)
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        self.0.write(None, envelopes)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.readable()
    }

    /// Everything crosses as it is; whoever takes it from the other bridge says what has to be finished.
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers() -> Vec<FrameBuffer> {
        std::iter::repeat_with(FrameBuffer::new).take(4).collect()
    }

    #[test]
    fn what_is_written_at_one_side_is_read_at_the_other() {
        let (one, other) = patch(4).unwrap();
        for (from, to, byte) in [(&one, &other, 7), (&other, &one, 8)] {
            assert_eq!(from.write(&[&[byte; 24]]).frames, 1);
            let mut buffers = buffers();
            assert_eq!(to.read(&mut buffers).unwrap(), 1);
            assert_eq!(buffers[0].envelope(), [byte; 24]);
            let nothing = from.read(&mut buffers).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_full_queue_drops_and_is_counted_where_it_was_written_to() {
        let (one, other) = patch(1).unwrap();
        let written = one.write(&[&[0; 24], &[0; 24], &[0; 24]]);
        assert_eq!((written.frames, written.full), (1, 2));
        assert_eq!((one.unread(), other.unread()), (0, 0));
    }

    #[test]
    fn the_side_that_is_left_drains_and_sees_the_end() {
        let (one, other) = patch(4).unwrap();
        one.write(&[&[0; 24]]);
        drop(one);
        let mut buffers = buffers();
        assert_eq!(other.read(&mut buffers).unwrap(), 1);
        let end = other.read(&mut buffers).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(other.write(&[&[0; 24]]).gone, 1);
    }
}
