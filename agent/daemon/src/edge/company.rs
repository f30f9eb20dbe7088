//! The networks that a sandbox is on, as the edges of all of them see it.
//!
//! One company is shared by all endpoints of a sandbox: one that comes or goes is said once, however many there are.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use dns_io::Upstream;

use super::{SharedZone, read, write};

/// Its members are endpoints, each by its rank and its id.
#[derive(Default)]
pub(crate) struct Company(RwLock<Members>);

pub(super) type Members = BTreeMap<(u32, String), Member>;

/// What an endpoint's network brings along.
pub(crate) struct Member {
    /// The names of the network.
    pub(crate) zone: SharedZone,
    /// Who knows the names of the world; of a network that is not internal.
    pub(crate) way_out: Option<Arc<Upstream>>,
}

impl Company {
    pub(crate) fn join(&self, (rank, endpoint): (u32, &str), member: Member) {
        write(&self.0).insert((rank, endpoint.to_owned()), member);
    }

    /// Whether nobody is left.
    pub(crate) fn leave(&self, (rank, endpoint): (u32, &str)) -> bool {
        let mut members = write(&self.0);
        members.remove(&(rank, endpoint.to_owned()));
        members.is_empty()
    }

    /// In the order in which they came.
    pub(super) fn members(&self) -> RwLockReadGuard<'_, Members> {
        read(&self.0)
    }

    /// Who knows the names of the world for those on the network with this zone, by another network than that.
    pub(super) fn way_out(&self, own: &SharedZone) -> Option<Arc<Upstream>> {
        let members = self.members();
        let mut others = members.values().filter(|member| !member.is_of(own));
        others.find_map(|member| member.way_out.clone())
    }
}

impl Member {
    pub(super) fn is_of(&self, zone: &SharedZone) -> bool {
        Arc::ptr_eq(&self.zone, zone)
    }
}
