//! No congestion control, and an eye on the path.
//!
//! # Theory of operation
//!
//! quinn tells its congestion controller of every packet that was acknowledged or lost, with its length. Ours controls nothing
//! (see [`super::transport`]), but from this it sees a path that swallows long packets only, because a link on the way has
//! become narrower and nobody says so (RFC 8899 §1.1): long packets are lost, again and again, and not one arrives. quinn
//! looks for that too, but wants more losses than a flow makes that has nothing but timeouts left.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};

/// What is known of long packets on one connection's path. The controller writes it, the engine reads it.
#[derive(Debug)]
pub(super) struct PathWatch {
    start: Instant,
    /// Losses since a long packet was last acknowledged.
    losses: AtomicU64,
    /// When the first of them was seen, in milliseconds since `start`.
    first_ms: AtomicU64,
}

impl PathWatch {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            start: now,
            losses: AtomicU64::new(0),
            first_ms: AtomicU64::new(0),
        })
    }

    /// Whether long packets do not arrive any more.
    pub(super) fn is_hole(&self, now: Instant) -> bool {
        let first = Duration::from_millis(self.first_ms.load(Ordering::Relaxed));
        self.losses.load(Ordering::Relaxed) >= LOSSES_MIN
            && now >= self.start + first + SUSPICION_MIN
    }

    /// The path was given another chance.
    pub(super) fn forget(&self) {
        self.losses.store(0, Ordering::Relaxed);
    }

    fn acknowledged(&self, bytes: u64) {
        if bytes >= LONG && self.losses.load(Ordering::Relaxed) > 0 {
            self.forget();
        }
    }

    fn lost(&self, now: Instant, bytes: u64) {
        if bytes < LONG {
            return;
        }
        if self.losses.fetch_add(1, Ordering::Relaxed) == 0 {
            let elapsed = now.saturating_duration_since(self.start).as_millis();
            let first_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
            self.first_ms.store(first_ms, Ordering::Relaxed);
        }
    }
}

/// Makes the controllers of one connection.
#[derive(Clone, Debug)]
pub(super) struct Uncontrolled(pub(super) Arc<PathWatch>);

impl ControllerFactory for Uncontrolled {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Self::clone(&self))
    }
}

impl Controller for Uncontrolled {
    fn on_ack(
        &mut self,
        _now: Instant,
        _sent: Instant,
        bytes: u64,
        _app_limited: bool,
        _rtt: &RttEstimator,
    ) {
        self.0.acknowledged(bytes);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        _sent: Instant,
        _is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.0.lost(now, lost_bytes);
    }

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    /// Beyond `u32::MAX` quinn does not pace.
    fn window(&self) -> u64 {
        u64::MAX / 2
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// More than the payload that every path carries (RFC 9000 §14), in bytes.
const LONG: u64 = 1230;
/// Loss events, and time since the first, that make a hole.
const LOSSES_MIN: u64 = 2;
const SUSPICION_MIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn long_packets_that_only_get_lost_are_a_hole() {
        let start = Instant::now();
        let watch = PathWatch::new(start);
        watch.lost(start + MS, 1472);
        watch.acknowledged(40);
        watch.lost(start + 190 * MS, 1472);
        assert!(!watch.is_hole(start + 190 * MS));
        assert!(watch.is_hole(start + 210 * MS));
        watch.forget();
        assert!(!watch.is_hole(start + 400 * MS));
    }

    #[test]
    fn a_long_packet_that_arrives_clears_the_path() {
        let start = Instant::now();
        let watch = PathWatch::new(start);
        watch.lost(start, 1472);
        watch.lost(start, 1472);
        watch.acknowledged(1472);
        assert!(!watch.is_hole(start + 500 * MS));
    }

    #[test]
    fn short_packets_say_nothing_of_long_ones() {
        let start = Instant::now();
        let watch = PathWatch::new(start);
        for n in 0..10 {
            watch.lost(start + n * MS, 100);
        }
        assert!(!watch.is_hole(start + 500 * MS));
    }
}
