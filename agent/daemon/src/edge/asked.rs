//! What is asked for until it is answered.

use std::net::IpAddr;
use std::time::Instant;

use dns_core::Carrier;
use switch_core::PortId;
use switch_core::edge::QueryId;

use super::query_log::Noted;

/// A query on its way to its reply.
pub(super) struct Asked {
    pub(super) query: QueryId,
    /// Who asks, and who pays for it.
    pub(super) ingress: PortId,
    /// Who says to ask.
    pub(super) source: IpAddr,
    pub(super) carrier: Carrier,
    pub(super) arrived: Instant,
    pub(super) noted: Option<Noted>,
}

#[cfg(test)]
impl Asked {
    pub(super) fn new(ingress: PortId) -> Self {
        Self {
            query: QueryId::default(),
            ingress,
            source: [10, 0, 0, 1].into(),
            carrier: Carrier::Udp,
            arrived: Instant::now(),
            noted: None,
        }
    }
}
