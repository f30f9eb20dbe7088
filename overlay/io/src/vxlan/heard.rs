//! What came for the search of a path.

use std::net::IpAddr;

use overlay_core::PathProbe;

/// A probe or an answer that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) from: IpAddr,
    pub(super) probe: PathProbe,
    /// Length of the UDP payload.
    pub(super) len: u16,
}
