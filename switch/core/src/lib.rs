//! The learning switch: every decision about a frame, and no I/O.
//!
//! Nothing here reads a clock, opens a socket or spawns a thread: time and bytes are arguments.

#![warn(clippy::iter_over_hash_type)]

mod address;
mod block;
mod bpdu;
pub mod bpf;
mod bridge;
mod bridge_port;
mod bucket;
pub mod bytes;
pub mod checksum;
mod coalesce;
mod dhcp;
mod dhcp_client;
pub mod edge;
mod envelope;
mod fdb;
mod flood;
mod flow;
mod frame;
mod gateway;
mod guard;
pub mod impairment;
mod list_id;
mod lock;
mod loop_finder;
mod mac;
mod multicast;
mod neighbors;
mod packet;
pub mod pcapng;
pub mod policy;
mod port;
mod port_guards;
mod port_id;
mod probe;
mod proxy;
mod sampler;
mod segment;
pub mod sflow;
pub mod shaper;
mod snapshot;
mod splitmix;
mod storm;
mod suspicion;
#[cfg(test)]
mod testing;
mod time;
mod topology;
mod trace;
mod translate;
mod unfinished;
mod verdict;
pub mod vlan;
mod vnet;
mod vni;

pub use block::Block;
pub use bridge::{Bridge, BridgeConfig, FloodList, GroupList, Passed, Rehearsal, Withheld};
pub use coalesce::{Coalescer, Joining, Push};
pub use dhcp_client::{DhcpClient, Lease, LeaseEvent};
pub use fdb::{Fdb, FdbConfig, FdbCounts, FdbEntry, FdbKind, Learned, Move, Moves, Station};
pub use frame::{Frame, ethertype};
pub use guard::Claim;
pub use list_id::ListId;
pub use lock::lock;
pub use loop_finder::{HOLD as LOOP_HOLD, LoopAct, LoopFinder};
pub use mac::{Mac, ParseMac};
pub use multicast::{
    Access, Dialect, Family, FilterMode, MulticastCounts, MulticastView, QuerierView, RecordView,
    RouterView, SnoopingConfig, Told,
};
pub use neighbors::{Neighbor, Neighbors};
pub use port::{PortConfig, PortCounters, PortCounts, PortKind, SplitHorizonGroup};
pub use port_guards::{BumLimit, ByFlood, FloodKind, PortGuards};
pub use port_id::PortId;
pub use probe::Probe;
pub use proxy::announcement;
pub use sampler::Sampler;
pub use segment::Segments;
pub use snapshot::{Damaged, PortImage, Snapshot, TableImage};
pub use splitmix::SplitMix64;
pub use time::Time;
pub use trace::{Filter, ParseFilter, Payload, Sample, Source, Step, Summary, Trace};
pub use translate::{Crossing, Rule as CrossingRule};
pub use unfinished::{Unfinished, UnfinishedTcp};
pub use verdict::{DropReason, Verdict};
pub use vnet::{Gso, OpenChecksum, RawVnet, VnetHeader};
pub use vni::Vni;
