//! TAPs, workers and decorators: moves the frames that switch-core decides about.

mod channel_port;
mod frame_port;
mod sys;
mod tap;

pub use channel_port::{ChannelEnd, ChannelPort, Received, channel};
pub use frame_port::{Capabilities, FrameBuffer, FramePort, Written};
pub use tap::{BasicTap, OffloadMask, OffloadTap, OpenTap};
#[path = "sys/packet.rs"]
pub mod packet;
