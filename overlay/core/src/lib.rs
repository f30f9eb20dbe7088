//! The overlay: encapsulation headers, pieces of superframes, peers and endpoint records, and no I/O.
//!
//! Nothing here reads a clock, opens a socket or spawns a thread: time, randomness and bytes are arguments.

#![warn(clippy::iter_over_hash_type)]

mod bucket;
pub mod checksum;
mod demand;
mod directory;
pub mod ecn;
mod flow;
mod host;
pub mod mss;
pub mod mtu;
mod network;
pub mod outer;
mod outer_fields;
mod path_mtu;
mod path_probe;
mod peer;
mod piece;
mod pieces;
mod quic_frame;
mod quic_packet;
mod random;
mod reassemble;
mod rebuild;
mod record;
mod relay;
mod run;
#[cfg(test)]
mod testing;
pub mod too_big;
mod vxlan;

pub use bucket::Bucket;
pub use demand::{Demand, Reason};
pub use directory::{
    AnnounceEndpoint, Applied, Directory, DirectoryConfig, DirectoryCounts, DirectoryEvent,
    Endpoint,
};
pub use flow::{DYNAMIC_FIRST, DYNAMIC_PORTS, flow_hash, source_udp_port};
pub use host::{HostId, ParseHostId};
pub use network::NetworkId;
pub use outer_fields::{Df, OuterFields, OuterPolicy, Tos, Ttl};
pub use path_mtu::{PathFinding, PathMtu, PathState, SendProbe};
pub use path_probe::{PathProbe, PathProbeKind};
pub use peer::{
    Capabilities, Close, Hello, LETTER_LEN_MAX, Peer, PeerConfig, PeerCounts, PeerEvent, PeerState,
    Role, Timing,
};
pub use pieces::{CutFrame, Datagrams, FrameIds, Parts};
pub use quic_frame::{DatagramHeader, FrameId, ParseDatagram, PieceGso};
pub use quic_packet::Destination;
pub use reassemble::{Pushed, ReassembleConfig, ReassembleCounts, Reassembler, Rebuilt};
pub use record::{Epoch, Record, RecordFlags, Sequence, Withdrawal};
pub use relay::{DirectTries, Leg, RelayBudget, RelayCandidate, RelayHeader, Try, Way, Ways};
pub use run::Run;
pub use vxlan::{ParseVxlan, VXLAN_UDP_PORT, VxlanHeader};
