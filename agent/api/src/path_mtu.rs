//! How long a packet a path carries.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long a packet the path to another host carries, on the underlay, from the IP header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathMtu {
    pub found: PathMtuFound,
    /// Absent where it is unfindable.
    pub bytes: Option<u32>,
}

/// How a path's MTU is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathMtuFound {
    /// A packet of that length was answered, and no longer one.
    Measured,
    /// Routers (ICMP) or this host's routes say so; the other host answers no probes.
    Told,
    /// The other host answers no probes, and nobody says anything.
    Unfindable,
}
