//! TAPs, workers and decorators: moves the frames that switch-core decides about.

#[path = "sys/packet.rs"]
pub mod packet;
