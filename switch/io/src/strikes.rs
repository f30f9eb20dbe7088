//! Counts what should not happen, and forgets it after a while without.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use switch_core::lock;

#[derive(Debug, Default)]
pub(crate) struct Strikes(Mutex<Option<(u32, Instant)>>);

impl Strikes {
    /// One more at `now`; how many there are.
    pub(crate) fn add(&self, now: Instant) -> u32 {
        let mut strikes = lock(&self.0);
        let before = strikes.filter(|(_, last)| now.saturating_duration_since(*last) < MEMORY);
        let count = before.map_or(1, |(count, _)| count.saturating_add(1));
        *strikes = Some((count, now));
        count
    }
}

const MEMORY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_are_forgotten_after_a_while_without() {
        let strikes = Strikes::default();
        let start = Instant::now();
        let after = |seconds| strikes.add(start + Duration::from_secs(seconds));
        assert_eq!([after(0), after(50), after(100)], [1, 2, 3]);
        assert_eq!(after(160), 1);
    }
}
