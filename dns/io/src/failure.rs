//! What went wrong lately, for people who ask.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::SystemTime;

use crate::lock::lock;

/// A server's failure, and how often it has come in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The last time.
    pub at: SystemTime,
    pub server: String,
    pub error: String,
    pub times: u64,
}

/// The latest failures, oldest first; a repeated one is counted instead of listed again.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<VecDeque<Failure>>);

impl Failures {
    pub(crate) fn note(&self, server: String, error: String) {
        let at = SystemTime::now();
        let mut kept = lock(&self.0);
        let same = |failure: &&mut Failure| failure.server == server && failure.error == error;
        if let Some(failure) = kept.iter_mut().find(same) {
            failure.at = at;
            failure.times += 1;
            return;
        }
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Failure {
            at,
            server,
            error,
            times: 1,
        });
    }

    pub(crate) fn snapshot(&self) -> Vec<Failure> {
        let kept = lock(&self.0);
        kept.iter().cloned().collect()
    }
}

const KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_failures_are_counted_and_old_ones_forgotten() {
        let failures = Failures::default();
        for _ in 0..3 {
            failures.note("a".to_owned(), "silent".to_owned());
        }
        assert_eq!(failures.snapshot()[0].times, 3);
        for number in 0..20 {
            failures.note("b".to_owned(), number.to_string());
        }
        let left = failures.snapshot();
        assert_eq!(left.len(), KEPT);
        assert_eq!(left[KEPT - 1].error, "19");
    }
}
