//! TAPs, workers and decorators: moves the frames that switch-core decides about.

pub mod capture;
mod channel_port;
mod confine;
mod contained;
mod engine;
mod error;
mod events;
mod frame_port;
mod hasher;
mod holding;
mod impairment;
mod lanes;
mod lease_wire;
mod lookout;
mod observers;
mod outfit;
mod overload;
mod patch_port;
mod port;
mod probe;
mod retag;
#[cfg(test)]
mod samples;
mod sampling;
mod shaping;
mod strikes;
mod switch;
mod sys;
mod tap;
mod uplink;
mod vigil;
mod worker;

pub use channel_port::{ChannelEnd, ChannelPort, Received, channel};
pub use engine::{EngineChoice, EngineKind, EngineReport};
pub use error::{AddPort, Dress, StartSwitch};
pub use events::SwitchEvent;
pub use frame_port::{Capabilities, FrameBuffer, FramePort, Written};
pub use holding::{Control, Hold, Holding};
pub use impairment::{Impaired, ImpairmentControl, ImpairmentCounts};
pub use lease_wire::LeaseWire;
pub use observers::{Observer, Observing, Sight};
pub use outfit::{Layer, LayerKind};
pub use patch_port::{PatchPort, patch};
pub use probe::{HostSupport, probe};
pub use sampling::{FlowSample, FlowSamples};
pub use shaping::{RateControl, RateCounts, Shaped};
pub use switch::{AUTO_WORKERS_MAX, NewPort, RemovedPort, Switch, SwitchConfig, WorkerReport};
pub use sys::heap::give_back_freed;
pub use sys::meminfo::unreceived;
pub use sys::packet;
pub use sys::packet_ring::{PacketRing, RingPacket};
pub use tap::{
    BasicTap, OffloadMask, OffloadTap, OpenTap, set_carrier, set_persistent, take_over, whereabouts,
};
pub use uplink::{UplinkPort, UplinkWish};
pub use worker::Moved;
