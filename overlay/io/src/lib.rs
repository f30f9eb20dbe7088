//! Tunnels: carries frames between hosts over QUIC and VXLAN sockets.

mod envelope;
mod members;
mod readiness;
mod socket;
mod vxlan;

pub use members::AddTunnelPort;
pub use vxlan::{BindTunnel, VxlanConfig, VxlanCounts, VxlanPort, VxlanTrunk, VxlanTunnel};
