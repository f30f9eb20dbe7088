//! Rates of a port: what its station may send and get.
//!
//! # Theory of operation
//!
//! Each direction is a [`Shaper`], which has the bucket and the queues; [`Holding`] has the clock and the timer. What a shaper drops is
//! counted by it alone, and read from there into the port's counters ([`FramePort`](crate::FramePort) cannot tell it in time: a frame may be dropped because of
//! another, or when its turn has come).

use std::io;
use std::time::Duration;

use switch_core::shaper::{Limit, Shaper, ShaperCounts};

use crate::frame_port::Written;
use crate::holding::{Control, Hold, Holding};

/// What became of the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateCounts {
    pub frames: ShaperCounts,
    /// Frames of the wire that wait.
    pub waiting: u64,
    /// Envelopes that the inner port did not take when their turn had come.
    pub refused: u64,
}

/// A port with rates.
pub type Shaped<P> = Holding<P, Shaper>;

/// The rates of a port, to be changed and observed while frames flow. It is for one port at a time.
pub type RateControl = Control<Shaper>;

impl RateControl {
    /// For frames from the station into the switch, and for those to it.
    pub fn new(inbound: Option<Limit>, outbound: Option<Limit>) -> io::Result<Self> {
        Self::of(Shaper::new(inbound), Shaper::new(outbound))
    }

    /// Frames that wait go on waiting for the new rates.
    pub fn set(&self, inbound: Option<Limit>, outbound: Option<Limit>) {
        self.change(|ways| {
            ways.inbound.set(inbound);
            ways.outbound.set(outbound);
        });
    }

    /// Counts of frames from the station, and of those to it.
    pub fn counts(&self) -> (RateCounts, RateCounts) {
        let ways = self.ways();
        let counts = |shaper: &Shaper, refused| RateCounts {
            frames: shaper.counts(),
            waiting: shaper.waiting(),
            refused,
        };
        (
            counts(&ways.inbound, 0),
            counts(&ways.outbound, ways.refused),
        )
    }

    /// Frames that were dropped, both ways.
    pub(crate) fn dropped(&self) -> u64 {
        let ways = self.ways();
        ways.inbound.counts().dropped + ways.outbound.counts().dropped
    }
}

impl Hold for Shaper {
    fn pass(&mut self, now: Duration, envelope: &[u8]) -> bool {
        self.pass(now, envelope)
    }

    /// A frame that waits counts as sent.
    fn push(&mut self, now: Duration, envelope: &[u8]) -> Written {
        self.push(now, envelope);
        let mut written = Written::default();
        written.count_sent(envelope);
        written
    }

    fn pop(&mut self, now: Duration) -> Option<Vec<u8>> {
        self.pop(now)
    }

    fn drain(&mut self) -> Option<Vec<u8>> {
        self.drain()
    }

    fn next_release(&mut self) -> Option<Duration> {
        self.next_release()
    }

    fn give_back(&mut self, envelope: Vec<u8>) {
        self.give_back(envelope);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::channel_port::channel;
    use crate::frame_port::{Capabilities, FrameBuffer, FramePort};

    /// A thousand bytes of the wire.
    const ENVELOPE: [u8; 1010] = [0; 1010];

    fn limit(rate_bits_s: u64) -> Option<Limit> {
        Some(Limit {
            rate_bits_s,
            burst_bytes: Some(4000),
        })
    }

    fn wait_and_read(port: &impl FramePort) -> io::Result<usize> {
        poll(&mut [PollFd::new(&port.as_fd(), PollFlags::IN)], None).unwrap();
        port.read(&mut [FrameBuffer::new(), FrameBuffer::new()])
    }

    #[test]
    fn what_is_over_the_rate_waits_and_leaves_when_the_port_says_so() {
        let (port, end) = channel(64, Capabilities::NONE).unwrap();
        let control = RateControl::new(None, limit(800_000)).unwrap();
        let port = Shaped::over(port, &control).unwrap();
        let start = Instant::now();
        assert_eq!(port.write(&[&ENVELOPE[..]; 8]).frames, 8);
        let mut arrived = std::iter::from_fn(|| end.try_recv().ok()).count();
        assert!((3..8).contains(&arrived), "{arrived}");
        while arrived < 8 {
            assert_eq!(
                wait_and_read(&port).unwrap_err().kind(),
                io::ErrorKind::WouldBlock
            );
            arrived += std::iter::from_fn(|| end.try_recv().ok()).count();
        }
        assert!(start.elapsed() >= Duration::from_millis(40));
        assert_eq!(control.counts().1.frames.sent, 8);
    }

    #[test]
    fn a_station_that_sends_too_fast_waits_too() {
        let (port, end) = channel(64, Capabilities::NONE).unwrap();
        let control = RateControl::new(limit(800_000), None).unwrap();
        let port = Shaped::over(port, &control).unwrap();
        for _ in 0..5 {
            assert!(end.send(&ENVELOPE[10..]));
        }
        let start = Instant::now();
        let mut read = 0;
        while read < 5 {
            read += wait_and_read(&port).unwrap_or(0);
        }
        assert!(start.elapsed() >= Duration::from_millis(10));
        let (from, to) = control.counts();
        assert_eq!(
            (from.frames.sent, from.waiting, to.frames.frames),
            (5, 0, 0)
        );
    }

    #[test]
    fn what_waits_leaves_when_the_rate_goes() {
        let (port, end) = channel(64, Capabilities::NONE).unwrap();
        let control = RateControl::new(None, limit(8000)).unwrap();
        let port = Shaped::over(port, &control).unwrap();
        port.write(&[&ENVELOPE[..]; 8]);
        port.settle();
        assert_eq!(std::iter::from_fn(|| end.try_recv().ok()).count(), 8);
        assert_eq!(control.counts().1.waiting, 0);
        assert_eq!(port.write(&[&ENVELOPE[..]]).frames, 1);
        assert!(end.try_recv().is_ok());
    }

    #[test]
    fn a_higher_rate_lets_go_of_what_waits() {
        let (port, end) = channel(64, Capabilities::NONE).unwrap();
        let control = RateControl::new(None, limit(8000)).unwrap();
        let port = Shaped::over(port, &control).unwrap();
        port.write(&[&ENVELOPE[..]; 8]);
        control.set(None, limit(8_000_000_000));
        let mut arrived = 0;
        while arrived < 8 {
            let _ = wait_and_read(&port);
            arrived += std::iter::from_fn(|| end.try_recv().ok()).count();
        }
        let refused = Shaped::over(channel(1, Capabilities::NONE).unwrap().0, &control);
        assert_eq!(refused.err().unwrap().kind(), io::ErrorKind::ResourceBusy);
    }
}
