//! What an edge has done, for those who read it without asking the edge's task.

use std::sync::atomic::{AtomicU64, Ordering};

use agent_api::QueryOutcome;
use switch_core::edge::EdgeCounters;

use super::names::Names;
use crate::latency::{Distribution, Latency};

/// Written by the task and the port of one edge.
#[derive(Default)]
pub(super) struct Counts {
    /// Queries that the port answered.
    pub(super) answered: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) crowded_out: AtomicU64,
    /// From the arrival of a query that had to be asked of a server, to its reply.
    pub(super) forwarding: Latency,
    queries_refused: AtomicU64,
    dhcp_replies: AtomicU64,
    dhcp_unknown: AtomicU64,
    dhcp_ignored: AtomicU64,
}

/// What an edge has done since the agent started.
#[derive(Clone, Debug, Default)]
pub(crate) struct EdgeCounts {
    /// Queries that were answered, or not, by what became of them.
    pub(crate) outcomes: Vec<(&'static str, u64)>,
    /// Forwarded, and no server helped.
    pub(crate) failed: u64,
    /// Refused or dropped because too many waited.
    pub(crate) crowded_out: u64,
    pub(crate) forwarding: Distribution,
    /// Messages of DHCP clients, by what became of them.
    pub(crate) dhcp: [(&'static str, u64); 3],
}

impl Counts {
    /// What the edge counted itself; one that was made anew begins at zero, and what the one before had counted is kept.
    pub(super) fn note(&self, before: &EdgeCounters, now: &EdgeCounters) {
        let counted = [
            (
                &self.queries_refused,
                before.queries_refused,
                now.queries_refused,
            ),
            (&self.dhcp_replies, before.dhcp_replies, now.dhcp_replies),
            (&self.dhcp_unknown, before.dhcp_unknown, now.dhcp_unknown),
            (&self.dhcp_ignored, before.dhcp_ignored, now.dhcp_ignored),
        ];
        for (counter, before, now) in counted {
            counter.fetch_add(now.saturating_sub(before), Ordering::Relaxed);
        }
    }

    pub(super) fn seen(&self, names: &Names) -> EdgeCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let outcomes = OUTCOMES.map(|(name, outcome)| (name, names.counted(outcome)));
        EdgeCounts {
            outcomes: outcomes.to_vec(),
            failed: load(&self.failed),
            crowded_out: load(&self.crowded_out) + load(&self.queries_refused),
            forwarding: self.forwarding.seen(),
            dhcp: [
                ("answered", load(&self.dhcp_replies)),
                ("unknown", load(&self.dhcp_unknown)),
                ("ignored", load(&self.dhcp_ignored)),
            ],
        }
    }
}

/// As the log of queries calls them.
const OUTCOMES: [(&str, QueryOutcome); 5] = [
    ("local", QueryOutcome::Local),
    ("cached", QueryOutcome::Cached),
    ("forwarded", QueryOutcome::Forwarded),
    ("refused", QueryOutcome::Refused),
    ("ignored", QueryOutcome::Ignored),
];
