//! What a port is kept from, beyond what its kind is.
//!
//! # Theory of operation
//!
//! The words are the kernel bridge's (`ip link set ... type bridge_slave`), and mean here what they mean there:
//!
//! - *locked*: only stations that are configured at the port may send from it. The kernel also lets pass what was learned there before
//!   it was locked; here it does not, so that locking needs no flush.
//! - *flood*, *mcast_flood*, *bcast_flood*: whether the port gets unknown unicast, multicast, broadcast that comes from others. A
//!   frame that goes nowhere for that reason is no drop, as a bridge without such a port has none.
//! - *bpdu guard*: a port that sends a BPDU is blocked. Whoever moves its frames does that, and opens it again.
//!
//! Storm budgets are by kind of flood and in frames a second, whatever they reach, and come before the port's budget of copies
//! ([`crate::storm`]).

use std::time::Duration;

use crate::{DropReason, Mac};

/// The rate of broadcast, unknown unicast and multicast a port may send into the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BumLimit {
    /// Frames a second; a superframe counts its segments. Zero stops BUM altogether.
    pub frames_s: u32,
    /// Frames that may arrive at once after a pause.
    pub burst_frames: u32,
}

impl BumLimit {
    /// Far above what address resolution and discovery need, far below what would starve the others.
    pub const SANDBOX: Self = Self {
        frames_s: 20_000,
        burst_frames: 20_000,
    };
}

/// What is flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloodKind {
    Broadcast,
    Multicast,
    /// Unicast whose station nobody knows.
    Unknown,
}

impl FloodKind {
    /// Of a frame that is flooded, by its destination.
    #[inline]
    pub fn of(destination: Mac) -> Self {
        match destination {
            Mac::BROADCAST => Self::Broadcast,
            group if group.is_multicast() => Self::Multicast,
            _ => Self::Unknown,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::Unknown => "unknown unicast",
        }
    }

    pub(crate) const fn over_rate(self) -> DropReason {
        match self {
            Self::Broadcast => DropReason::StormBroadcast,
            Self::Multicast => DropReason::StormMulticast,
            Self::Unknown => DropReason::StormUnknown,
        }
    }
}

/// Something for each kind of flood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByFlood<T> {
    pub broadcast: T,
    pub multicast: T,
    pub unknown: T,
}

impl<T> ByFlood<T> {
    #[inline]
    pub const fn of(&self, kind: FloodKind) -> &T {
        match kind {
            FloodKind::Broadcast => &self.broadcast,
            FloodKind::Multicast => &self.multicast,
            FloodKind::Unknown => &self.unknown,
        }
    }

    pub(crate) fn each<U>(&self, change: impl Fn(&T) -> U) -> ByFlood<U> {
        ByFlood {
            broadcast: change(&self.broadcast),
            multicast: change(&self.multicast),
            unknown: change(&self.unknown),
        }
    }
}

/// See the module's theory of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortGuards {
    pub locked: bool,
    /// Which floods the port gets.
    pub flood: ByFlood<bool>,
    /// Frames a second of each kind that the port may send; `None`: no budget of the kind's own.
    pub storm: ByFlood<Option<BumLimit>>,
    /// How long a port that sent a BPDU stays blocked, zero for until somebody opens it; `None`: no guard.
    pub bpdu: Option<Duration>,
}

impl PortGuards {
    pub const NONE: Self = Self {
        locked: false,
        flood: ByFlood {
            broadcast: true,
            multicast: true,
            unknown: true,
        },
        storm: ByFlood {
            broadcast: None,
            multicast: None,
            unknown: None,
        },
        bpdu: None,
    };

    /// Whether it gets every flood.
    pub const fn gets_all(&self) -> bool {
        self.flood.broadcast && self.flood.multicast && self.flood.unknown
    }
}

impl Default for PortGuards {
    fn default() -> Self {
        Self::NONE
    }
}
