//! Who asks the hosts of a network.
//!
//! # Theory of operation
//!
//! Of all queriers the one with the lowest address asks (RFC 3376 §6.6.2, RFC 3810 §7.6.2). A bridge asks as its gateway; one
//! that has none in that family gives way to whoever has an address. Another querier is believed for as long as RFC 3376 §8.5
//! says after each of its general queries, and then the bridge asks again.
//!
//! A query that leaves hosts more time than records could outlive elects nobody: who sends it might silence the others.

use std::time::Duration;

use super::address::Address;
use crate::{PortId, Time};

/// The election in one family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Election {
    other: Option<Querier>,
    /// When the bridge asks everybody next.
    next: Option<Time>,
}

/// Another querier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Querier {
    pub(crate) address: Address,
    pub(crate) port: PortId,
    pub(crate) until: Time,
}

impl Election {
    /// Somebody asks everybody. `own` is what the bridge would ask as, or nothing.
    pub(crate) fn hear(
        &mut self,
        now: Time,
        own: Option<Address>,
        (address, port): (Address, PortId),
        response: Duration,
    ) {
        let beats_us = own.is_none_or(|own| address < own);
        let beats_other = self.other.is_none_or(|other| address <= other.address);
        if response <= RESPONSE_MAX && beats_us && beats_other {
            let until = now + OTHER_PRESENT;
            self.other = Some(Querier {
                address,
                port,
                until,
            });
            self.next = Some(until);
        }
    }

    /// Who else asks.
    pub(crate) const fn other(&self) -> Option<Querier> {
        self.other
    }

    /// Whoever was behind the port is gone.
    pub(crate) fn remove_port(&mut self, port: PortId) {
        if self.other.is_some_and(|other| other.port == port) {
            self.other = None;
            self.next = None;
        }
    }

    /// Whether everybody is to be asked now.
    pub(crate) fn ask(&mut self, now: Time) -> bool {
        if self.other.is_some_and(|other| other.until <= now) {
            self.other = None;
        }
        let is_due = match self.next {
            // Its ports are new, and asked for that.
            None => {
                self.next = Some(now + QUERY_INTERVAL / 4);
                false
            }
            Some(next) => next <= now,
        };
        if is_due {
            self.next = Some(now + QUERY_INTERVAL);
        }
        is_due
    }

    pub(crate) const fn due(&self) -> Option<Time> {
        self.next
    }
}

/// As queries say it ([`super::query::QUERY_INTERVAL_S`]).
const QUERY_INTERVAL: Duration = Duration::from_secs(125);
/// Other querier present interval: two query intervals and half of a response interval.
pub(crate) const OTHER_PRESENT: Duration = Duration::from_secs(255);
/// A record lives ten seconds longer than two query intervals.
const RESPONSE_MAX: Duration = Duration::from_secs(25);
