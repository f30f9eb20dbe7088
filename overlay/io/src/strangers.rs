//! What is logged of datagrams and connections from outside: each source once in a while, however much it sends.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};
use switch_core::lock;

/// Sources that were told of. With many of them at once nobody is told of anew, so that a flood from invented addresses
/// fills no log.
#[derive(Debug)]
pub(crate) struct Strangers(Mutex<HashMap<IpAddr, Instant>>);

impl Strangers {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Whether to tell of `source` now.
    pub(crate) fn is_news(&self, source: IpAddr, now: Instant) -> bool {
        let mut told = lock(&self.0);
        let is_recent = |since: &Instant| now.saturating_duration_since(*since) < SILENCE;
        if told.get(&source).is_some_and(is_recent) {
            return false;
        }
        if told.len() >= SOURCES_MAX {
            told.retain(|_, since| is_recent(since));
        }
        if told.len() >= SOURCES_MAX {
            return false;
        }
        told.insert(source, now);
        true
    }
}

const SILENCE: Duration = Duration::from_secs(600);
const SOURCES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    #[test]
    fn a_source_is_told_of_once_in_a_while() {
        let (strangers, start) = (Strangers::new(), Instant::now());
        assert!(strangers.is_news(source(1), start));
        assert!(!strangers.is_news(source(1), start + SILENCE / 2));
        assert!(strangers.is_news(source(2), start));
        assert!(strangers.is_news(source(1), start + SILENCE));
    }

    #[test]
    fn a_flood_of_sources_is_not_told_of() {
        let (strangers, start) = (Strangers::new(), Instant::now());
        let told = (0..=255).filter(|n| strangers.is_news(source(*n), start));
        assert_eq!(told.count(), SOURCES_MAX);
        assert!(strangers.is_news(source(255), start + SILENCE));
    }
}
