//! Endpoint records: who says where a MAC lives.
//!
//! # Theory of operation
//!
//! A record is a claim of one host: this MAC, with these addresses, is behind me. Only that host writes it. Two hosts may claim
//! the same MAC, while it moves or because it was given out twice. So records are ordered ([`Record::outranks`]): all hosts that
//! have the same records name the same owner, in whatever order the records came (the rules of EVPN, RFC 7432 §15):
//!
//! 1. a registered endpoint ([`RecordFlags::sticky`]) before one that was only seen;
//! 2. the higher sequence number, which a host raises above all it knows when it takes a MAC over;
//! 3. the lower host name.
//!
//! The epoch tells one life of a host from the next: a new epoch ends everything of the old one.

use std::net::IpAddr;

use switch_core::Mac;

use crate::{HostId, NetworkId};

/// A claim that a MAC lives on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub network: NetworkId,
    pub mac: Mac,
    /// Addresses the endpoint answers to; at most [`Self::ADDRESSES_MAX`].
    pub addresses: Vec<IpAddr>,
    pub host: HostId,
    pub epoch: Epoch,
    pub sequence: Sequence,
    pub flags: RecordFlags,
}

impl Record {
    /// Most addresses of an endpoint.
    pub const ADDRESSES_MAX: usize = 16;

    /// Whether this claim beats another to the same MAC, or the same address. A total order among hosts.
    pub fn outranks(&self, other: &Self) -> bool {
        let rank = |record: &Self| (record.flags.sticky, record.sequence);
        match rank(self).cmp(&rank(other)) {
            std::cmp::Ordering::Equal => (&self.host, self.mac) < (&other.host, other.mac),
            order => order.is_gt(),
        }
    }

    /// What ends exactly this record.
    pub fn withdrawal(&self) -> Withdrawal {
        Withdrawal {
            network: self.network,
            mac: self.mac,
            host: self.host.clone(),
            epoch: self.epoch,
            sequence: self.sequence,
        }
    }
}

/// Ends a record of the same owner with this or a lower (epoch, sequence), and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    pub network: NetworkId,
    pub mac: Mac,
    pub host: HostId,
    pub epoch: Epoch,
    pub sequence: Sequence,
}

/// Counts the owners a MAC has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The next one; stays at the end of the range.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// One life of a host: grows with each lease it takes. What a host claimed in an earlier epoch is void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RecordFlags {
    /// A registered endpoint; false for a MAC that was seen.
    pub sticky: bool,
    /// The endpoint routes for others; who answers neighbor solicitations for it says so (RFC 9161 §3.2).
    pub gateway: bool,
}
