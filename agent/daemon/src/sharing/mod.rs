//! Sharing: this host's cluster, what it tells the other hosts, and what it hears from them.
//!
//! # Theory of operation
//!
//! Here is whether this host is a member of a cluster ([`cluster`]), the [`directory`] that orders what all hosts claim, and the
//! sockets of [`tunnels`]. What this host shares goes out through [`networks`], [`blocks`] (addresses) and [`tell`] (endpoints);
//! they ask etcd, so they are called without any lock. What the others share comes in through [`crate::follow`].
//!
//! An endpoint of a shared network gets an address of this host's blocks, so nobody is asked while there are any. Blocks are
//! taken, given back and fenced as time passes ([`blocks`]); an endpoint for which there is no address waits for one ([`asks`]).
//! What the host owns is on record, and never more than is so: by it an agent goes on that starts without the store.

pub(crate) mod asks;
pub(crate) mod blocks;
pub(crate) mod cluster;
pub(crate) mod demand;
mod detail;
pub(crate) mod directory;
mod flaps;
pub(crate) mod handover;
pub(crate) mod letters;
pub(crate) mod networks;
mod news;
mod path_mtu;
pub(crate) mod quic;
pub(crate) mod refused;
pub(crate) mod route;
pub(crate) mod tell;
pub(crate) mod tunnels;
pub(crate) mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use agent_cluster::Member;
use overlay_core::Directory;

use self::asks::Bell;
use self::cluster::Membership;
use self::flaps::Flaps;
use self::refused::Refused;
use self::tunnels::Tunnels;
use crate::ground::Ground;
use crate::locks::lock;
use crate::publishing::{Filter, Underlay};
use crate::turns::Turns;

/// This host's part in its cluster.
pub(crate) struct Sharing {
    ground: Arc<Ground>,
    filter: Arc<Filter>,
    pub(crate) tunnels: Arc<Tunnels>,
    membership: Mutex<Membership>,
    /// Where the cluster's endpoints are; absent without a cluster.
    directory: Mutex<Option<Directory>>,
    pub(crate) refused: Refused,
    /// The keys of other hosts' endpoints that are in the directory.
    pub(crate) taken_in: Mutex<BTreeSet<String>>,
    /// Rings when the cluster is known to be different.
    pub(crate) bell: Bell,
    /// Waiting for addresses, by network.
    obtaining: Turns<String>,
    flaps: Mutex<Flaps>,
    /// Since when hosts are away, by id.
    away: Mutex<BTreeMap<String, Instant>>,
    /// The hosts that were heard to be there, by id.
    present: Mutex<BTreeSet<String>>,
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
            taken_in: Mutex::default(),
            bell: Bell::default(),
            obtaining: Turns::default(),
            flaps: Mutex::default(),
            away: Mutex::default(),
            present: Mutex::default(),
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
