//! Impairments of a port: a cable that is slow, lossy or out of order, for labs and tests.
//!
//! # Theory of operation
//!
//! Each direction is a [`Line`], which decides each frame's fate and keeps those that wait in order of their release;
//! [`Holding`] has the clock and the timer.

use std::io;
use std::time::Duration;

use switch_core::impairment::{Impairment, Line, LineCounts};

use crate::frame_port::{FramePort, Written};
use crate::holding::{Control, Hold, Holding};

/// What became of the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImpairmentCounts {
    pub frames: LineCounts,
    /// Frames of the wire that wait.
    pub waiting: u64,
    /// Envelopes that the inner port did not take when their time had come.
    pub refused: u64,
}

/// A port with impairments in both directions. The fate of the n-th frame of a direction depends on the seed alone.
pub type Impaired<P> = Holding<P, Line>;

/// What goes wrong at a port, to be changed and observed while frames flow. It is for one port at a time.
pub type ImpairmentControl = Control<Line>;

impl ImpairmentControl {
    pub fn new(inbound: Impairment, outbound: Impairment, seed: u64) -> io::Result<Self> {
        Self::of(Line::new(inbound, seed), Line::new(outbound, !seed))
    }

    /// Sets what is done to frames from the station into the switch, and to those to it; the next frame of each direction is the first of
    /// the seed. See [`Line::set`] for those that wait.
    pub fn set(&self, inbound: Impairment, outbound: Impairment, seed: u64) {
        self.change(|ways| {
            ways.inbound.set(inbound, seed);
            ways.outbound.set(outbound, !seed);
        });
    }

    /// Counts of frames from the station, and of those to it.
    pub fn counts(&self) -> (ImpairmentCounts, ImpairmentCounts) {
        let ways = self.ways();
        let counts = |line: &Line, refused| ImpairmentCounts {
            frames: line.counts(),
            waiting: line.waiting(),
            refused,
        };
        (
            counts(&ways.inbound, 0),
            counts(&ways.outbound, ways.refused),
        )
    }
}

impl<P: FramePort> Impaired<P> {
    pub fn new(inner: P, inbound: Impairment, outbound: Impairment, seed: u64) -> io::Result<Self> {
        Self::over(inner, &ImpairmentControl::new(inbound, outbound, seed)?)
    }
}

impl Hold for Line {
    fn pass(&mut self, _now: Duration, envelope: &[u8]) -> bool {
        self.pass(envelope)
    }

    /// A frame that waits counts as sent; of a superframe, what is lost counts as the frames of the wire that it is.
    fn push(&mut self, now: Duration, envelope: &[u8]) -> Written {
        let taken = self.push(now, envelope);
        let mut written = Written {
            fault: taken.lost,
            full: taken.overflowed,
            ..Written::default()
        };
        if taken.queued > 0 {
            written.count_sent(envelope);
        }
        written
    }

    fn pop(&mut self, now: Duration) -> Option<Vec<u8>> {
        self.pop(now)
    }

    fn drain(&mut self) -> Option<Vec<u8>> {
        self.pop(Duration::MAX)
    }

    fn next_release(&mut self) -> Option<Duration> {
        self.next_release()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, poll};

    use switch_core::impairment::{Chance, Loss};

    use super::*;
    use crate::channel_port::channel;
    use crate::frame_port::{Capabilities, FrameBuffer};

    const ENVELOPE: [u8; 24] = [0; 24];

    #[test]
    fn a_delayed_frame_makes_the_descriptor_readable_when_it_is_due() {
        let (port, end) = channel(16, Capabilities::NONE).unwrap();
        let slow = Impairment {
            delay: Duration::from_millis(20),
            ..Impairment::default()
        };
        let port = Impaired::new(port, slow, slow, 1).unwrap();
        let mut buffers = [FrameBuffer::new()];
        end.send(b"frame");
        let start = Instant::now();
        assert_eq!(
            port.read(&mut buffers).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        port.write(&[&ENVELOPE]);
        assert!(end.try_recv().is_err());
        loop {
            poll(&mut [PollFd::new(&port.as_fd(), PollFlags::IN)], None).unwrap();
            if port.read(&mut buffers).is_ok() {
                break;
            }
        }
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(&buffers[0].envelope()[10..], b"frame");
        assert_eq!(
            end.recv_timeout(Duration::from_secs(1))
                .map(|_| ())
                .ok()
                .or_else(|| {
                    std::thread::sleep(Duration::from_millis(5));
                    let _ = port.read(&mut buffers);
                    end.try_recv().map(|_| ()).ok()
                }),
            Some(())
        );
    }

    #[test]
    fn total_loss_is_reported_as_fault() {
        let (port, end) = channel(16, Capabilities::NONE).unwrap();
        let lost = Impairment {
            loss: Loss::Random(Chance::of(1.0)),
            ..Impairment::default()
        };
        let port = Impaired::new(port, lost, lost, 1).unwrap();
        assert_eq!(port.write(&[&ENVELOPE, &ENVELOPE]).fault, 2);
        end.send(b"frame");
        let mut buffers = [FrameBuffer::new()];
        assert_eq!(
            port.read(&mut buffers).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let (inbound, outbound) = port.control().counts();
        assert_eq!((inbound.frames.lost, outbound.frames.lost), (1, 2));
    }

    #[test]
    fn without_impairments_frames_pass_at_once() {
        let (port, end) = channel(16, Capabilities::NONE).unwrap();
        let port = Impaired::new(port, Impairment::default(), Impairment::default(), 1).unwrap();
        assert_eq!(port.write(&[&ENVELOPE]).frames, 1);
        assert!(end.try_recv().is_ok());
        end.send(b"frame");
        assert_eq!(port.read(&mut [FrameBuffer::new()]).unwrap(), 1);
    }

    #[test]
    fn impairments_can_be_changed_while_the_port_is_used() {
        let (port, _end) = channel(16, Capabilities::NONE).unwrap();
        let port = Impaired::new(port, Impairment::default(), Impairment::default(), 1).unwrap();
        let lost = Impairment {
            loss: Loss::Random(Chance::of(1.0)),
            ..Impairment::default()
        };
        port.control().set(Impairment::default(), lost, 1);
        assert_eq!(port.write(&[&ENVELOPE]).fault, 1);
    }

    #[test]
    fn the_end_of_the_inner_port_shows() {
        let (port, end) = channel(16, Capabilities::NONE).unwrap();
        let port = Impaired::new(port, Impairment::default(), Impairment::default(), 1).unwrap();
        drop(end);
        assert_eq!(
            port.read(&mut [FrameBuffer::new()]).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn what_waits_when_the_delay_goes_leaves_at_once() {
        let (port, end) = channel(16, Capabilities::NONE).unwrap();
        let slow = Impairment {
            delay: Duration::from_secs(1000),
            ..Impairment::default()
        };
        let port = Impaired::new(port, slow, slow, 1).unwrap();
        port.write(&[&ENVELOPE]);
        let control = port.control();
        assert_eq!(control.counts().1.waiting, 1);
        control.set(Impairment::default(), Impairment::default(), 1);
        poll(&mut [PollFd::new(&port.as_fd(), PollFlags::IN)], None).unwrap();
        let _ = port.read(&mut [FrameBuffer::new()]);
        assert!(end.try_recv().is_ok());
        assert_eq!(control.counts().1.waiting, 0);
    }

    #[test]
    fn what_the_inner_port_refuses_late_is_counted() {
        let (port, _end) = channel(1, Capabilities::NONE).unwrap();
        let twice = Impairment {
            duplicate: Chance::of(1.0),
            ..Impairment::default()
        };
        let port = Impaired::new(port, twice, twice, 1).unwrap();
        assert_eq!(port.write(&[&ENVELOPE]).frames, 1);
        let (_, outbound) = port.control().counts();
        assert_eq!((outbound.frames.sent, outbound.refused), (2, 1));
    }
}
