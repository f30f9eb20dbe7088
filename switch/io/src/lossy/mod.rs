//! Faults on a port: loss, duplication, delay, reordering and a limited rate, for labs and tests.
//!
//! # Theory of operation
//!
//! Each direction is a [`line::Line`], which decides each frame's fate and keeps delayed frames in order of their release.
//! A timerfd is set to the next release; the port's descriptor is an epoll instance that holds the timer and the inner
//! port's descriptor, so the worker reads the port when either is due, and the read releases both directions.
//!
//! Lines and timer belong to the [`LossyControl`], which may go around a port, and from it again, while frames flow. Before it goes it
//! settles: what waits leaves at once, in the order in which it would have left, and what comes after that passes unchanged.

mod line;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use switch_core::lock;

use self::line::Line;
use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};

/// What goes wrong in one direction. The default is: nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// Share of frames that vanish, 0.0 to 1.0.
    pub loss: f64,
    /// Share of frames that come twice.
    pub duplicate: f64,
    /// Share of frames that skip the delay, and so overtake others. Without a delay nothing is overtaken.
    pub reorder: f64,
    pub delay: Duration,
    /// The delay varies by up to so much, both ways.
    pub jitter: Duration,
    /// Bits a second; `None`: no limit.
    pub rate_bits_s: Option<u64>,
    /// Frames that may wait; further ones are dropped as from a full queue.
    pub limit_frames: usize,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate_bits_s: None,
            limit_frames: 1000,
        }
    }
}

/// Frames that met a fault, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    pub lost: u64,
    pub duplicated: u64,
    pub delayed: u64,
    pub reordered: u64,
    /// Dropped because too many waited.
    pub overflowed: u64,
    /// Dropped by the inner port after their delay.
    pub late_drops: u64,
}

/// A port with faults in both directions. The fate of the n-th frame of a direction depends on the seed alone.
pub struct Lossy<P> {
    inner: P,
    control: LossyControl,
    /// Holds the timer and the inner port's descriptor.
    readiness: OwnedFd,
}

/// What goes wrong at a port, to be changed and observed while frames flow. It is for one port at a time.
#[derive(Clone, Debug)]
pub struct LossyControl(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: Mutex<Lines>,
    /// Fires at the next release.
    timer: OwnedFd,
    start: Instant,
}

#[derive(Debug)]
struct Lines {
    /// From the station into the switch.
    inbound: Line,
    outbound: Line,
    /// A port has it.
    is_worn: bool,
    /// Frames pass as if there were no faults.
    is_settled: bool,
}

impl LossyControl {
    pub fn new(inbound: Faults, outbound: Faults, seed: u64) -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let lines = Mutex::new(Lines {
            inbound: Line::new(inbound, seed),
            outbound: Line::new(outbound, !seed),
            is_worn: false,
            is_settled: false,
        });
        Ok(Self(Arc::new(Shared {
            lines,
            timer,
            start: Instant::now(),
        })))
    }

    /// Sets the faults of frames from the station into the switch, and of those to it. Frames that wait keep their time.
    pub fn set(&self, inbound: Faults, outbound: Faults) {
        let mut lines = self.lines();
        lines.inbound.set(inbound);
        lines.outbound.set(outbound);
    }

    /// Counts of frames from the station, and of those to it.
    pub fn counts(&self) -> (FaultCounts, FaultCounts) {
        let lines = self.lines();
        (lines.inbound.counts(), lines.outbound.counts())
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        lock(&self.0.lines)
    }

    fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// Sets the timer to the next release; a release that is overdue fires it at once.
    fn arm(&self, lines: &Lines, now: Duration) {
        let next = [lines.inbound.next_release(), lines.outbound.next_release()]
            .into_iter()
            .flatten()
            .min();
        let wait = next.map_or(Duration::ZERO, |due| {
            due.saturating_sub(now).max(Duration::from_nanos(1))
        });
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = Itimerspec {
            it_interval: zero,
            it_value: Timespec::try_from(wait).unwrap_or(zero),
        };
        // Only values out of range make this fail.
        let _ = timerfd_settime(&self.0.timer, TimerfdTimerFlags::empty(), &value);
    }
}

/// Whether they are the same, not whether they are alike.
impl PartialEq for LossyControl {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<P: FramePort> Lossy<P> {
    pub fn new(inner: P, inbound: Faults, outbound: Faults, seed: u64) -> io::Result<Self> {
        Self::over(inner, &LossyControl::new(inbound, outbound, seed)?)
    }

    /// Puts `control` around `inner`. `ResourceBusy`: it is around another port.
    pub fn over(inner: P, control: &LossyControl) -> io::Result<Self> {
        let readiness = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let descriptors = [control.0.timer.as_fd(), inner.as_fd()];
        for (number, fd) in (0..).zip(descriptors) {
            let data = epoll::EventData::new_u64(number);
            epoll::add(&readiness, fd, data, epoll::EventFlags::IN)?;
        }
        let mut lines = control.lines();
        if std::mem::replace(&mut lines.is_worn, true) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        lines.is_settled = false;
        // What the last port left behind.
        while lines.inbound.pop(Duration::MAX).is_some() {}
        while lines.outbound.pop(Duration::MAX).is_some() {}
        drop(lines);
        Ok(Self {
            inner,
            control: control.clone(),
            readiness,
        })
    }

    pub fn control(&self) -> LossyControl {
        self.control.clone()
    }

    /// Hands the inner port what it is time for.
    fn release(&self, lines: &mut Lines, now: Duration) {
        let mut written = Written::default();
        while let Some(envelope) = lines.outbound.pop(now) {
            written += self.inner.write(&[&envelope]);
        }
        lines.outbound.count_late(&written);
    }
}

impl<P> Drop for Lossy<P> {
    fn drop(&mut self) {
        self.control.lines().is_worn = false;
    }
}

/// Fills the buffers with what it is time for; how many.
fn fill(buffers: &mut [FrameBuffer], line: &mut Line, now: Duration) -> usize {
    let mut count = 0;
    for buffer in buffers {
        let Some(envelope) = line.pop(now) else {
            break;
        };
        buffer.fill(&envelope);
        count += 1;
    }
    count
}

impl<P: FramePort> FramePort for Lossy<P> {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut lines = self.control.lines();
        if lines.is_settled {
            let count = fill(buffers, &mut lines.inbound, Duration::MAX);
            return match count {
                0 => self.inner.read(buffers),
                _ => Ok(count),
            };
        }
        let now = self.control.now();
        self.release(&mut lines, now);
        let read = self.inner.read(buffers);
        for buffer in &buffers[..*read.as_ref().unwrap_or(&0)] {
            lines.inbound.push(now, buffer.envelope());
        }
        let count = fill(buffers, &mut lines.inbound, now);
        self.control.arm(&lines, now);
        match (count, read) {
            (0, Err(error)) => Err(error),
            (0, Ok(_)) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    /// A frame that waits counts as sent.
    fn write(&self, envelopes: &[&[u8]]) -> Written {
        let mut lines = self.control.lines();
        if lines.is_settled {
            return self.inner.write(envelopes);
        }
        let now = self.control.now();
        let mut written = Written::default();
        for envelope in envelopes {
            match lines.outbound.push(now, envelope) {
                line::Fate::Lost => written.fault += 1,
                line::Fate::Overflow => written.full += 1,
                line::Fate::Queued => written.count_sent(envelope),
            }
        }
        self.release(&mut lines, now);
        self.control.arm(&lines, now);
        written
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn tap(&self) -> Option<BorrowedFd<'_>> {
        self.inner.tap()
    }

    fn unread(&self) -> u64 {
        self.inner.unread()
    }

    fn attached(&self, id: switch_core::PortId) {
        self.inner.attached(id);
    }

    fn settle(&self) {
        let mut lines = self.control.lines();
        lines.is_settled = true;
        self.release(&mut lines, Duration::MAX);
        self.control.arm(&lines, Duration::MAX);
    }

    fn holds(&self) -> bool {
        let lines = self.control.lines();
        lines.is_settled && lines.inbound.next_release().is_some()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::channel_port::channel;

    const ENVELOPE: [u8; 24] = [0; 24];

    #[test]
    fn a_delayed_frame_makes_the_descriptor_readable_when_it_is_due() {
        let (port, end) = channel(16, Capabilities::NONE).unwrap();
        let slow = Faults {
            delay: Duration::from_millis(20),
            ..Faults::default()
        };
        let port = Lossy::new(port, slow, slow, 1).unwrap();
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
        let lost = Faults {
            loss: 1.0,
            ..Faults::default()
        };
        let port = Lossy::new(port, lost, lost, 1).unwrap();
        assert_eq!(port.write(&[&ENVELOPE, &ENVELOPE]).fault, 2);
        end.send(b"frame");
        let mut buffers = [FrameBuffer::new()];
        assert_eq!(
            port.read(&mut buffers).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let (inbound, outbound) = port.control().counts();
        assert_eq!((inbound.lost, outbound.lost), (1, 2));
    }

    #[test]
    fn without_faults_frames_pass_at_once() {
        let (port, end) = channel(16, Capabilities::NONE).unwrap();
        let port = Lossy::new(port, Faults::default(), Faults::default(), 1).unwrap();
        assert_eq!(port.write(&[&ENVELOPE]).frames, 1);
        assert!(end.try_recv().is_ok());
        end.send(b"frame");
        assert_eq!(port.read(&mut [FrameBuffer::new()]).unwrap(), 1);
    }

    #[test]
    fn faults_can_be_changed_while_the_port_is_used() {
        let (port, _end) = channel(16, Capabilities::NONE).unwrap();
        let port = Lossy::new(port, Faults::default(), Faults::default(), 1).unwrap();
        let lost = Faults {
            loss: 1.0,
            ..Faults::default()
        };
        port.control().set(Faults::default(), lost);
        assert_eq!(port.write(&[&ENVELOPE]).fault, 1);
    }

    #[test]
    fn the_end_of_the_inner_port_shows() {
        let (port, end) = channel(16, Capabilities::NONE).unwrap();
        let port = Lossy::new(port, Faults::default(), Faults::default(), 1).unwrap();
        drop(end);
        assert_eq!(
            port.read(&mut [FrameBuffer::new()]).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
