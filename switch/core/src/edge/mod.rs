//! The edge service of a network: gateway, DHCP and DNS transport inside the switch.

mod config;

use std::time::Duration;

pub use config::{EdgeConfig, EdgeCounters, EdgeEvent, HostRecord, QueryId, Transport};

use crate::{Mac, Time};

/// The edge of one network.
#[derive(Debug)]
pub struct Edge {
    config: EdgeConfig,
    counters: EdgeCounters,
}

impl Edge {
    pub fn new(config: EdgeConfig) -> Self {
        Self {
            config,
            counters: EdgeCounters::default(),
        }
    }

    /// Takes one complete Ethernet frame that the bridge delivered to the edge port.
    pub fn handle_input(&mut self, _now: Time, _frame: &[u8]) {}

    /// Call when [`poll_timeout`](Self::poll_timeout) is due; harmless earlier.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// The next Ethernet frame to send: complete, checksums done, no longer than the MTU allows.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// The next thing asked of the owner.
    pub fn poll_event(&mut self) -> Option<EdgeEvent> {
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` while nothing is pending.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// Sends the answer of a query. A message for UDP must already fit its client (see dns-core).
    pub fn answer(&mut self, _query: QueryId, _message: &[u8]) {}

    /// Registers a host with DHCP, or replaces its record.
    pub fn insert_host(&mut self, _mac: Mac, _record: HostRecord) {}

    /// Forgets a host. Unknown ones are fine.
    pub fn remove_host(&mut self, _mac: Mac) {}

    pub fn config(&self) -> &EdgeConfig {
        &self.config
    }

    pub fn counters(&self) -> EdgeCounters {
        self.counters
    }
}

/// How long a query waits for its answer.
pub const QUERY_LIFETIME: Duration = Duration::from_secs(10);
