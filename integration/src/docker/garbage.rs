//! What the engine does not know any more: it may lose the agent while it removes something, and never says so again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::wire::Id;

/// What was missing at the looks so far, and since when.
#[derive(Debug, Default)]
pub(super) struct Missing {
    since: BTreeMap<Id, Instant>,
}

impl Missing {
    /// Takes in what is missing at a look. Returns what has been missing at every look for long enough to be garbage: a single look
    /// may come between the engine's making something and its listing it.
    pub(super) fn look(&mut self, missing: BTreeSet<Id>, now: Instant) -> Vec<Id> {
        self.since.retain(|id, _| missing.contains(id));
        for id in missing {
            self.since.entry(id).or_insert(now);
        }
        let is_old = |since: &Instant| now.saturating_duration_since(*since) >= PATIENCE;
        let old = self.since.iter().filter(|(_, since)| is_old(since));
        old.map(|(id, _)| id.clone()).collect()
    }
}

/// Between the first look at which something is missing, and the last.
const PATIENCE: Duration = Duration::from_secs(30);
/// A little longer, so that the second look is the last.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_secs(31);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_at_every_look_is_garbage() {
        let id = |digit: char| Id::try_from(digit.to_string().repeat(64)).unwrap();
        let set = |digits: &str| digits.chars().map(id).collect::<BTreeSet<_>>();
        let (mut missing, start) = (Missing::default(), Instant::now());
        assert_eq!(missing.look(set("ab"), start), []);
        assert_eq!(missing.look(set("a"), start + PATIENCE / 2), []);
        assert_eq!(missing.look(set("ab"), start + PATIENCE), [id('a')]);
        assert_eq!(missing.look(set("b"), start + 2 * PATIENCE), [id('b')]);
    }
}
