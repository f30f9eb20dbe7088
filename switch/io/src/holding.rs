//! A device around a device that holds frames back, and gives them out when it is time.
//!
//! # Theory of operation
//!
//! Each direction is a [`Hold`], which decides when a frame leaves, if at all, and keeps those that wait. A timerfd is set to the next
//! release; the port's descriptor is an epoll instance that holds the timer and the inner port's descriptor, so the worker reads the port
//! when either is due, and the read releases both directions. Nobody sleeps, and ports without such a device know nothing of it.
//!
//! Holds and timer belong to the [`Control`], which may go around a port, and from it again, while frames flow. Before it goes it
//! settles: what waits leaves at once, in the order in which it would have left, and what comes after that passes unchanged.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use switch_core::lock;

use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};

/// One direction of what is held back. Times are those of one clock, and never go back.
pub trait Hold: Send {
    /// Whether an envelope leaves now as it is. If not, it is to be pushed.
    fn pass(&mut self, now: Duration, envelope: &[u8]) -> bool;

    /// Takes an envelope in, and says what is known of its fate.
    fn push(&mut self, now: Duration, envelope: &[u8]) -> Written;

    /// The next envelope that leaves.
    fn pop(&mut self, now: Duration) -> Option<Vec<u8>>;

    /// The next envelope, whenever it was to leave.
    fn drain(&mut self) -> Option<Vec<u8>>;

    /// When [`Self::pop`] is worth a try.
    fn next_release(&mut self) -> Option<Duration>;

    /// Takes the room of an envelope back that was given out.
    fn give_back(&mut self, _envelope: Vec<u8>) {}
}

/// A port whose frames are held in both directions.
pub struct Holding<P, H> {
    inner: P,
    control: Control<H>,
    /// How manieth port that wears it.
    number: u64,
    /// Holds the timer and the inner port's descriptor.
    readiness: OwnedFd,
}

/// What holds frames, to be changed and observed while they flow. It is for one port at a time.
#[derive(Debug)]
pub struct Control<H>(Arc<Shared<H>>);

#[derive(Debug)]
struct Shared<H> {
    ways: Mutex<Ways<H>>,
    /// Fires at the next release.
    timer: OwnedFd,
    start: Instant,
}

/// Both directions.
#[derive(Debug)]
pub(crate) struct Ways<H> {
    /// From the station into the switch.
    pub(crate) inbound: H,
    pub(crate) outbound: H,
    /// Of what went out, what the inner port did not take.
    pub(crate) refused: u64,
    /// Which port has it, until it has settled.
    worn: Option<u64>,
    /// Ports that have had it.
    ports: u64,
    /// Frames pass as if there were nothing.
    is_settled: bool,
    /// What the timer is set to.
    armed: Option<Duration>,
}

impl<H: Hold> Control<H> {
    pub(crate) fn of(inbound: H, outbound: H) -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let ways = Mutex::new(Ways {
            inbound,
            outbound,
            refused: 0,
            worn: None,
            ports: 0,
            is_settled: false,
            armed: None,
        });
        Ok(Self(Arc::new(Shared {
            ways,
            timer,
            start: Instant::now(),
        })))
    }

    /// Changes both directions; what waits then may leave earlier.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Ways<H>)) {
        let mut ways = self.ways();
        change(&mut ways);
        // Anew, whatever it was set to.
        ways.armed = None;
        let now = self.now();
        self.arm(&mut ways, now);
    }

    pub(crate) fn ways(&self) -> MutexGuard<'_, Ways<H>> {
        lock(&self.0.ways)
    }

    fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// Sets the timer to the next release; a release that is overdue fires it at once. One that is set to an earlier time stays so:
    /// it is asked again then.
    fn arm(&self, ways: &mut Ways<H>, now: Duration) {
        let releases = [ways.inbound.next_release(), ways.outbound.next_release()];
        let next = releases.into_iter().flatten().min();
        let is_early = |armed: Duration| armed > now && next.is_some_and(|next| armed <= next);
        if ways.armed.is_some_and(is_early) || (next.is_none() && ways.armed.is_none()) {
            return;
        }
        ways.armed = next;
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

impl<H> Ways<H> {
    /// The port of that number has it no more.
    fn let_go(&mut self, number: u64) {
        if self.worn == Some(number) {
            self.worn = None;
        }
    }
}

impl<H> Clone for Control<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Whether they are the same, not whether they are alike.
impl<H> PartialEq for Control<H> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<P: FramePort, H: Hold> Holding<P, H> {
    /// Puts `control` around `inner`. `ResourceBusy`: it is around another port.
    pub fn over(inner: P, control: &Control<H>) -> io::Result<Self> {
        let readiness = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let descriptors = [control.0.timer.as_fd(), inner.as_fd()];
        for (number, fd) in (0..).zip(descriptors) {
            let data = epoll::EventData::new_u64(number);
            epoll::add(&readiness, fd, data, epoll::EventFlags::IN)?;
        }
        let mut ways = control.ways();
        if ways.worn.is_some() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let number = ways.ports;
        ways.ports += 1;
        ways.worn = Some(number);
        ways.is_settled = false;
        // What the last port left behind.
        while ways.inbound.drain().is_some() {}
        while ways.outbound.drain().is_some() {}
        ways.armed = Some(Duration::MAX);
        control.arm(&mut ways, Duration::ZERO);
        drop(ways);
        Ok(Self {
            inner,
            control: control.clone(),
            number,
            readiness,
        })
    }

    pub fn control(&self) -> Control<H> {
        self.control.clone()
    }

    /// Hands the inner port what `next` gives.
    fn release(&self, ways: &mut Ways<H>, mut next: impl FnMut(&mut H) -> Option<Vec<u8>>) {
        let mut written = Written::default();
        while let Some(envelope) = next(&mut ways.outbound) {
            written += self.inner.write(&[&envelope]);
            ways.outbound.give_back(envelope);
        }
        ways.refused += written.dropped();
    }

    /// Takes in what was read; what leaves at once stays where it is. How many buffers that is, from the first on.
    fn take_in(buffers: &mut [FrameBuffer], inbound: &mut H, now: Duration) -> usize {
        let mut passed = 0;
        for place in 0..buffers.len() {
            if inbound.pass(now, buffers[place].envelope()) {
                buffers.swap(passed, place);
                passed += 1;
            } else {
                inbound.push(now, buffers[place].envelope());
            }
        }
        passed
    }
}

impl<P, H> Drop for Holding<P, H> {
    fn drop(&mut self) {
        lock(&self.control.0.ways).let_go(self.number);
    }
}

/// Fills the buffers with what `next` gives; how many.
fn fill<H: Hold>(
    buffers: &mut [FrameBuffer],
    hold: &mut H,
    mut next: impl FnMut(&mut H) -> Option<Vec<u8>>,
) -> usize {
    let mut count = 0;
    for buffer in buffers {
        let Some(envelope) = next(hold) else {
            break;
        };
        buffer.fill(&envelope);
        hold.give_back(envelope);
        count += 1;
    }
    count
}

impl<P: FramePort, H: Hold> FramePort for Holding<P, H> {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut ways = self.control.ways();
        if ways.is_settled {
            return match fill(buffers, &mut ways.inbound, H::drain) {
                0 => self.inner.read(buffers),
                count => Ok(count),
            };
        }
        let now = self.control.now();
        self.release(&mut ways, |hold| hold.pop(now));
        let read = self.inner.read(buffers);
        let count = *read.as_ref().unwrap_or(&0);
        let passed = Self::take_in(&mut buffers[..count], &mut ways.inbound, now);
        let count = passed
            + fill(&mut buffers[passed..], &mut ways.inbound, |hold| {
                hold.pop(now)
            });
        self.control.arm(&mut ways, now);
        match (count, read) {
            (0, Err(error)) => Err(error),
            (0, Ok(_)) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        let mut ways = self.control.ways();
        if ways.is_settled {
            return self.inner.write(envelopes);
        }
        let now = self.control.now();
        let mut written = Written::default();
        for envelope in envelopes {
            written += match ways.outbound.pass(now, envelope) {
                true => self.inner.write(&[envelope]),
                false => ways.outbound.push(now, envelope),
            };
        }
        self.release(&mut ways, |hold| hold.pop(now));
        self.control.arm(&mut ways, now);
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
        let mut ways = self.control.ways();
        ways.is_settled = true;
        ways.let_go(self.number);
        self.release(&mut ways, H::drain);
        self.control.arm(&mut ways, Duration::MAX);
    }

    fn settle_all(&self) {
        self.settle();
        self.inner.settle_all();
    }

    fn unsettle(&self) {
        self.inner.unsettle();
        let mut ways = self.control.ways();
        ways.is_settled = false;
        ways.worn = Some(self.number);
    }

    fn holds(&self) -> bool {
        let mut ways = self.control.ways();
        ways.is_settled && ways.inbound.next_release().is_some() || self.inner.holds()
    }
}
