//! Whose VNIs are, and were.

use serde::{Deserialize, Serialize};

use super::{Entry, VNIS, World};

/// Whose a VNI is, by key `vni/<n>`. Older agents wrote the network's id alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "VniWritten")]
pub struct VniRecord {
    /// The network's id.
    pub network: String,
    /// When the network was removed, since 1970: then this is a tombstone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum VniWritten {
    Id(String),
    Record {
        network: String,
        removed_s: Option<u64>,
    },
}

impl From<VniWritten> for VniRecord {
    fn from(written: VniWritten) -> Self {
        let (network, removed_s) = match written {
            VniWritten::Id(network) => (network, None),
            VniWritten::Record { network, removed_s } => (network, removed_s),
        };
        Self { network, removed_s }
    }
}

/// Networks of which the store says that they were removed, by id.
pub fn removed(world: &World) -> impl Iterator<Item = String> {
    tombstones(world).map(|(owner, _)| owner.network)
}

/// VNIs that rest.
pub(super) fn tombstones(world: &World) -> impl Iterator<Item = (VniRecord, &Entry)> {
    let owners = world.entries_under(VNIS);
    owners
        .filter_map(|(_, entry)| Some((entry.decode::<VniRecord>().ok()?, entry)))
        .filter(|(owner, _)| owner.removed_s.is_some())
}
