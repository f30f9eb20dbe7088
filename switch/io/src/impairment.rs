//! Impairments of a port: a cable that is slow, lossy or out of order, for labs and tests.
//!
//! # Theory of operation
//!
//! Each direction is a [`Line`], which decides each frame's fate and keeps those that wait in order of their release. A timerfd is set to
//! the next release; the port's descriptor is an epoll instance that holds the timer and the inner port's descriptor, so the worker reads
//! the port when either is due, and the read releases both directions. Nobody sleeps, and ports without impairments know nothing of it.
//!
//! Lines and timer belong to the [`ImpairmentControl`], which may go around a port, and from it again, while frames flow. Before it goes it
//! settles: what waits leaves at once, in the order in which it would have left, and what comes after that passes unchanged.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use switch_core::impairment::{Impairment, Line, LineCounts};
use switch_core::lock;

use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};

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
pub struct Impaired<P> {
    inner: P,
    control: ImpairmentControl,
    /// Holds the timer and the inner port's descriptor.
    readiness: OwnedFd,
}

/// What goes wrong at a port, to be changed and observed while frames flow. It is for one port at a time.
#[derive(Clone, Debug)]
pub struct ImpairmentControl(Arc<Shared>);

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
    /// Frames pass as if there were no impairments.
    is_settled: bool,
    /// Of the outbound line.
    refused: u64,
    /// What the timer is set to.
    armed: Option<Duration>,
}

impl ImpairmentControl {
    pub fn new(inbound: Impairment, outbound: Impairment, seed: u64) -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let lines = Mutex::new(Lines {
            inbound: Line::new(inbound, seed),
            outbound: Line::new(outbound, !seed),
            is_worn: false,
            is_settled: false,
            refused: 0,
            armed: None,
        });
        Ok(Self(Arc::new(Shared {
            lines,
            timer,
            start: Instant::now(),
        })))
    }

    /// Sets what is done to frames from the station into the switch, and to those to it; the next frame of each direction is the first of
    /// the seed. See [`Line::set`] for those that wait.
    pub fn set(&self, inbound: Impairment, outbound: Impairment, seed: u64) {
        let mut lines = self.lines();
        lines.inbound.set(inbound, seed);
        lines.outbound.set(outbound, !seed);
        let now = self.now();
        self.arm(&mut lines, now);
    }

    /// Counts of frames from the station, and of those to it.
    pub fn counts(&self) -> (ImpairmentCounts, ImpairmentCounts) {
        let lines = self.lines();
        let counts = |line: &Line, refused| ImpairmentCounts {
            frames: line.counts(),
            waiting: line.waiting(),
            refused,
        };
        (
            counts(&lines.inbound, 0),
            counts(&lines.outbound, lines.refused),
        )
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        lock(&self.0.lines)
    }

    fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// Sets the timer to the next release; a release that is overdue fires it at once.
    fn arm(&self, lines: &mut Lines, now: Duration) {
        let releases = [lines.inbound.next_release(), lines.outbound.next_release()];
        let next = releases.into_iter().flatten().min();
        if next == lines.armed && next.is_none_or(|due| due > now) {
            return;
        }
        lines.armed = next;
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
impl PartialEq for ImpairmentControl {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<P: FramePort> Impaired<P> {
    pub fn new(inner: P, inbound: Impairment, outbound: Impairment, seed: u64) -> io::Result<Self> {
        Self::over(inner, &ImpairmentControl::new(inbound, outbound, seed)?)
    }

    /// Puts `control` around `inner`. `ResourceBusy`: it is around another port.
    pub fn over(inner: P, control: &ImpairmentControl) -> io::Result<Self> {
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
        lines.armed = Some(Duration::MAX);
        control.arm(&mut lines, Duration::ZERO);
        drop(lines);
        Ok(Self {
            inner,
            control: control.clone(),
            readiness,
        })
    }

    pub fn control(&self) -> ImpairmentControl {
        self.control.clone()
    }

    /// Hands the inner port what it is time for.
    fn release(&self, lines: &mut Lines, now: Duration) {
        let mut written = Written::default();
        while let Some(envelope) = lines.outbound.pop(now) {
            written += self.inner.write(&[&envelope]);
        }
        lines.refused += written.dropped();
    }
}

impl<P> Drop for Impaired<P> {
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

impl<P: FramePort> FramePort for Impaired<P> {
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
        self.control.arm(&mut lines, now);
        match (count, read) {
            (0, Err(error)) => Err(error),
            (0, Ok(_)) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    /// A frame that waits counts as sent; of a superframe, what is lost counts as the frames of the wire that it is.
    fn write(&self, envelopes: &[&[u8]]) -> Written {
        let mut lines = self.control.lines();
        if lines.is_settled {
            return self.inner.write(envelopes);
        }
        let now = self.control.now();
        let mut written = Written::default();
        for envelope in envelopes {
            let taken = lines.outbound.push(now, envelope);
            written.fault += taken.lost;
            written.full += taken.overflowed;
            if taken.queued > 0 {
                written.count_sent(envelope);
            }
        }
        self.release(&mut lines, now);
        self.control.arm(&mut lines, now);
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
        self.control.arm(&mut lines, Duration::MAX);
    }

    fn holds(&self) -> bool {
        let mut lines = self.control.lines();
        lines.is_settled && lines.inbound.next_release().is_some()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use switch_core::impairment::{Chance, Loss};

    use super::*;
    use crate::channel_port::channel;

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
