//! Whether this host knows what the store has.

use std::time::Instant;

/// Since when this host is not in step with the store.
#[derive(Clone, Debug)]
pub struct OutOfStep {
    pub since: Instant,
    /// What failed last; absent before the first attempt has ended.
    pub why: Option<String>,
}

impl OutOfStep {
    pub(crate) fn since_now() -> Self {
        Self {
            since: Instant::now(),
            why: None,
        }
    }
}
