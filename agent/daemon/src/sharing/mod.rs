//! Sharing: this host's cluster, what it tells the other hosts, and what it hears from them.
//!
//! # Theory of operation
//!
//! Here is whether this host is a member of a cluster ([`cluster`]), the [`directory`] that orders what all hosts claim, and the
//! sockets of [`tunnels`]. What this host shares goes out through [`networks`], [`claims`] (addresses) and [`tell`] (endpoints);
//! they ask etcd, so they are called without any lock. What the others share comes in through [`crate::follow`].
//!
//! An address of a shared network is a key in the store that one host can make. An endpoint gets the lowest address that is
//! free as far as this host knows; where another host was faster, the next one. The key is under the host's lease and goes
//! with it.
//!
//! For times without etcd a host keeps a few addresses in reserve, from the top of the range, where they are in nobody's way.
//! Their keys are under no lease: they stay the host's until it leaves. An endpoint that is attached without etcd takes one of
//! them, and is told to the others as soon as etcd is back; the address is under the lease then, and the reserve filled up.

pub(crate) mod claims;
pub(crate) mod cluster;
pub(crate) mod directory;
pub(crate) mod handover;
pub(crate) mod networks;
pub(crate) mod quic;
pub(crate) mod refused;
pub(crate) mod route;
pub(crate) mod tell;
pub(crate) mod tunnels;
pub(crate) mod view;

use std::sync::{Arc, Mutex};

use agent_cluster::Member;
use overlay_core::Directory;

use self::cluster::Membership;
use self::refused::Refused;
use self::tunnels::Tunnels;
use crate::ground::Ground;
use crate::locks::lock;
use crate::publishing::{Filter, Underlay};

/// This host's part in its cluster.
pub(crate) struct Sharing {
    ground: Arc<Ground>,
    filter: Arc<Filter>,
    pub(crate) tunnels: Arc<Tunnels>,
    membership: Mutex<Membership>,
    /// Where the cluster's endpoints are; absent without a cluster.
    directory: Mutex<Option<Directory>>,
    pub(crate) refused: Refused,
}

impl Sharing {
    /// Outside of any cluster.
    pub(crate) fn new(ground: Arc<Ground>, filter: Arc<Filter>, tunnels: Arc<Tunnels>) -> Self {
        Self {
            ground,
            filter,
            tunnels,
            membership: Mutex::default(),
            directory: Mutex::default(),
            refused: Refused::default(),
        }
    }

    pub(crate) fn member(&self) -> Option<Arc<Member>> {
        match &*lock(&self.membership) {
            Membership::In(member) => Some(Arc::clone(member)),
            Membership::Out | Membership::Changing => None,
        }
    }

    /// Makes the packet filter fit the places where tunnels end and the cluster's hosts listen, if those are others than
    /// before.
    pub(crate) fn guard_tunnels(&self, member: Option<&Member>) {
        self.filter.follow_underlay(|| Underlay {
            tunnels: self.tunnels.addresses(),
            services: member.map(Member::services).unwrap_or_default(),
        });
    }
}
