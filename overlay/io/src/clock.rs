//! Time, and being woken in time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use switch_core::Time;

/// The tunnel's clock: quinn counts in instants, our own machines in milliseconds since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn time(self, now: Instant) -> Time {
        Time::at(self.start, now)
    }

    /// The first instant of that millisecond.
    pub(crate) fn instant(self, time: Time) -> Instant {
        self.start + Duration::from_millis(time.as_millis())
    }
}

/// A descriptor that becomes readable at a deadline.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
    deadline: Option<Instant>,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self {
            timer: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            deadline: None,
        })
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Rings at `deadline` at the latest. Later deadlines cost nothing: who is woken early looks again.
    pub(crate) fn ring_by(&mut self, deadline: Option<Instant>, now: Instant) {
        if let Some(deadline) = deadline
            && self.deadline.is_none_or(|armed| deadline < armed)
        {
            self.arm(deadline, now);
        }
    }

    /// Forgets the deadline that was reached.
    pub(crate) fn clear(&mut self) {
        self.deadline = None;
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
    }

    fn arm(&mut self, deadline: Instant, now: Instant) {
        // Zero would disarm.
        let delay = deadline
            .saturating_duration_since(now)
            .max(Duration::from_micros(1));
        let spec = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(delay.subsec_nanos()),
            },
        };
        if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec).is_ok() {
            self.deadline = Some(deadline);
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}
