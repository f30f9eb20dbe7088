//! Lets as many workers read as the load needs.
//!
//! # Theory of operation
//!
//! Frames that go from one core to another cost more than frames that stay, so all ports start on the first worker. A
//! worker that has too much to do says so, and half of what it reads goes to the worker that reads least. When all together
//! have worked no more than one can for some seconds, everything returns to the first worker; if that was in vain, the next
//! try waits twice as long. A switch without load has nothing to do here, and no timer runs.
//!
//! A port changes its reader in order: the old one has sent all that it read before the new one begins.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::desk::Desk;
use crate::confine::give_up_capabilities;
use crate::contained::contained;
use crate::overload::{Overload, Request, Requests};

/// The balancing thread; stops when this is dropped.
#[derive(Debug)]
pub(super) struct Balancer {
    overload: Overload,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    pub(super) fn start(requests: Requests, desk: Arc<Desk>) -> io::Result<Self> {
        let overload = requests.overload();
        let thread = std::thread::Builder::new()
            .name("switch-balance".into())
            .spawn(move || {
                // Balancing goes on all the same.
                let _ = give_up_capabilities();
                run(&requests, &desk);
            })?;
        Ok(Self {
            overload,
            thread: Some(thread),
        })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.overload.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(requests: &Requests, desk: &Desk) {
    let mut patience = Patience::new();
    loop {
        match requests.next_before(patience.until()) {
            Ok(Request::Relieve(worker)) => {
                if contained("relieving a worker", || desk.relieve(worker)) == Some(true) {
                    patience.spread(Mark::now(desk));
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if patience.ends(Mark::now(desk)) {
                    contained("gathering ports", || desk.gather());
                }
            }
            Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A time, and how much the workers had worked by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    at: Instant,
    worked: Duration,
}

impl Mark {
    fn now(desk: &Desk) -> Self {
        Self {
            at: Instant::now(),
            worked: desk.worked(),
        }
    }

    /// How many workers were at work since.
    fn workers_until(self, now: Self) -> f64 {
        let worked = now.worked.saturating_sub(self.worked);
        let elapsed = now.at.saturating_duration_since(self.at);
        worked.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// When to gather all ports again.
struct Patience {
    wait: Duration,
    /// When the ports were spread, or last stayed so.
    spread: Option<Mark>,
    gathered: Option<Instant>,
}

impl Patience {
    const fn new() -> Self {
        Self {
            wait: WAIT_MIN,
            spread: None,
            gathered: None,
        }
    }

    /// `None`: nothing is to be gathered.
    fn until(&self) -> Option<Instant> {
        Some(self.spread?.at + self.wait)
    }

    fn spread(&mut self, now: Mark) {
        let in_vain = |gathered| now.at.saturating_duration_since(gathered) < IN_VAIN;
        if self.spread.is_none() {
            self.wait = match self.gathered {
                Some(gathered) if in_vain(gathered) => (self.wait * 2).min(WAIT_MAX),
                _ => WAIT_MIN,
            };
            self.spread = Some(now);
        }
    }

    /// The wait is over. Whether the ports are to be gathered; if not, they are asked about again after another.
    fn ends(&mut self, now: Mark) -> bool {
        let stay = |spread: Mark| spread.workers_until(now) > FOR_ONE;
        if self.spread.is_some_and(stay) {
            self.spread = Some(now);
            return false;
        }
        self.spread = None;
        self.gathered = Some(now.at);
        true
    }
}

const WAIT_MIN: Duration = Duration::from_secs(8);
const WAIT_MAX: Duration = Duration::from_secs(64);
/// Ports that spread again so soon after they were gathered should not have been.
const IN_VAIN: Duration = Duration::from_secs(1);
/// Work for one worker, were it not spread: one stream of TCP takes 0.65 to 0.68 on two, one each way 0.75 and more.
const FOR_ONE: f64 = 0.72;

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(at: Instant) -> Mark {
        let worked = Duration::ZERO;
        Mark { at, worked }
    }

    #[test]
    fn gathering_in_vain_makes_the_next_try_later() {
        let mut patience = Patience::new();
        let mut now = Instant::now();
        assert_eq!(patience.until(), None);
        for wait in [8, 16, 32, 64, 64] {
            patience.spread(idle(now));
            assert_eq!(patience.until(), Some(now + Duration::from_secs(wait)));
            now += Duration::from_secs(wait);
            assert!(patience.ends(idle(now)));
            assert_eq!(patience.until(), None);
            now += Duration::from_millis(100);
        }
        now += IN_VAIN;
        patience.spread(idle(now));
        assert_eq!(patience.until(), Some(now + WAIT_MIN));
    }

    #[test]
    fn more_relief_does_not_put_gathering_off() {
        let mut patience = Patience::new();
        let now = Instant::now();
        patience.spread(idle(now));
        patience.spread(idle(now + Duration::from_secs(1)));
        assert_eq!(patience.until(), Some(now + WAIT_MIN));
    }

    #[test]
    fn ports_with_more_than_one_worker_can_do_stay_spread() {
        let mut patience = Patience::new();
        let mut mark = idle(Instant::now());
        patience.spread(mark);
        for _ in 0..3 {
            mark.at += WAIT_MIN;
            mark.worked += WAIT_MIN.mul_f64(0.8);
            assert!(!patience.ends(mark));
            assert_eq!(patience.until(), Some(mark.at + WAIT_MIN));
        }
        mark.at += WAIT_MIN;
        mark.worked += WAIT_MIN.mul_f64(0.7);
        assert!(patience.ends(mark));
    }
}
