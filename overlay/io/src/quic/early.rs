//! Frames that come before the connection does.
//!
//! A connection is made as soon as two hosts share a network, which is mostly before anybody there speaks. A container that is
//! faster would lose its first packet, and wait a second for the next. So a few short frames wait for a connection that is
//! about to come up.

use std::time::Duration;

use switch_core::{Time, Vni};
use switch_io::Written;

/// What waits for the connection to one host.
#[derive(Debug, Default)]
pub(super) struct Early(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    since: Time,
    vni: Vni,
    envelope: Vec<u8>,
}

impl Early {
    /// Keeps frames while there is room.
    pub(super) fn hold(&mut self, now: Time, vni: Vni, envelopes: &[&[u8]]) -> Written {
        self.0.retain(|waiting| waiting.is_fresh(now));
        let mut written = Written::default();
        for envelope in envelopes {
            if self.0.len() >= FRAMES_MAX || envelope.len() > LEN_MAX {
                written.down += 1;
                continue;
            }
            written.count_sent(envelope);
            self.0.push(Waiting {
                since: now,
                vni,
                envelope: envelope.to_vec(),
            });
        }
        written
    }

    /// What has waited, and not too long.
    pub(super) fn take(&mut self, now: Time) -> impl Iterator<Item = (Vni, Vec<u8>)> + use<> {
        let waiting = std::mem::take(&mut self.0).into_iter();
        waiting
            .filter(move |waiting| waiting.is_fresh(now))
            .map(|waiting| (waiting.vni, waiting.envelope))
    }
}

impl Waiting {
    fn is_fresh(&self, now: Time) -> bool {
        now.since(self.since) < AGE_MAX
    }
}

const FRAMES_MAX: usize = 32;
/// Longer ones belong to flows, which have others.
const LEN_MAX: usize = 2048;
/// Whoever waits for an answer has asked again by then.
const AGE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn vni() -> Vni {
        Vni::new(7).unwrap()
    }

    #[test]
    fn a_few_short_frames_wait_and_not_for_long() {
        let at = Time::from_millis;
        let mut early = Early::default();
        let (short, long) = ([1; 100], [2; 4000]);
        let written = early.hold(at(0), vni(), &[&short, &long]);
        assert_eq!((written.frames, written.down), (1, 1));
        for _ in 0..100 {
            early.hold(at(900), vni(), &[&short]);
        }
        assert_eq!(early.0.len(), FRAMES_MAX);
        let taken: Vec<_> = early.take(at(1100)).collect();
        assert_eq!(taken.len(), FRAMES_MAX - 1, "the first was too old");
        assert_eq!(taken[0], (vni(), short.to_vec()));
        assert_eq!(early.take(at(1100)).count(), 0);
    }
}
