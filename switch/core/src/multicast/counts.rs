//! How many messages about groups there were.

use std::ops::AddAssign;

use super::message::Dialect;

/// Messages, since the bridge was made. By [`Dialect::index`] where there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MulticastCounts {
    pub queries: [u64; Dialect::ALL.len()],
    pub reports: [u64; Dialect::ALL.len()],
    pub leaves: [u64; Dialect::ALL.len()],
    /// Those that hosts ignore.
    pub invalid: u64,
    /// Records that found no room, or took all sources because they had too many.
    pub full: u64,
    pub queries_sent: u64,
}

impl AddAssign for MulticastCounts {
    fn add_assign(&mut self, other: Self) {
        let by_dialect = [
            (&mut self.queries, other.queries),
            (&mut self.reports, other.reports),
            (&mut self.leaves, other.leaves),
        ];
        for (counts, others) in by_dialect {
            for (count, other) in counts.iter_mut().zip(others) {
                *count += other;
            }
        }
        self.invalid += other.invalid;
        self.full += other.full;
        self.queries_sent += other.queries_sent;
    }
}
