//! What is asked after a leave, and how often.

use std::time::Duration;

use super::record::Doubt;
use super::table::GroupKey;
use crate::{PortId, Time};

/// What was asked after a leave.
#[derive(Clone, Debug)]
pub(crate) struct Inquiry {
    pub(crate) key: GroupKey,
    pub(crate) port: PortId,
    pub(super) doubt: Doubt,
    pub(super) left: u8,
    pub(super) due: Time,
}

impl Inquiry {
    pub(crate) const fn new(now: Time, key: GroupKey, port: PortId, doubt: Doubt) -> Self {
        Self {
            key,
            port,
            doubt,
            left: LAST_RESPONSES,
            due: now,
        }
    }

    /// Somebody else has left, or the same for something else.
    pub(crate) fn renew(&mut self, doubt: Doubt) {
        self.doubt.group |= doubt.group;
        self.doubt.sources.extend(doubt.sources);
        self.left = LAST_RESPONSES;
    }
}

/// Last member query interval (RFC 3376 §8.8), last listener query interval (RFC 3810 §9.8).
pub(crate) const LAST_RESPONSE: Duration = Duration::from_secs(1);
/// Last member query count (RFC 3376 §8.9), last listener query count (RFC 3810 §9.9).
pub(crate) const LAST_RESPONSES: u8 = 2;
