//! Tunnels: carries frames between hosts over QUIC and VXLAN sockets.

mod clock;
mod envelope;
mod intake;
mod outlet;
mod quic;
mod readiness;
mod socket;
mod strangers;
mod tunnel;
mod vxlan;

pub use quic::{
    Credentials, Heritage, Letter, Mark, PathView, PeerView, QuicConfig, QuicCounts, QuicEvent,
    QuicPort, QuicTrunk, QuicTunnel, RebindQuic, StartQuic, UseCredentials,
};
pub use tunnel::{AddTunnelPort, TunnelPort, TunnelTrunk};
pub use vxlan::{
    BindTunnel, Gateway, StandsBack, VxlanConfig, VxlanCounts, VxlanPort, VxlanTrunk, VxlanTunnel,
};
