//! The kernel interfaces that have no safe wrapper: the only `unsafe` of the crate.
#![allow(unsafe_code)]

pub(crate) mod fd;
pub(crate) mod heap;
pub(crate) mod mapping;
pub(crate) mod meminfo;
pub mod packet;
pub(crate) mod packet_ring;
mod packet_socket;
pub(crate) mod packet_wire;
pub(crate) mod ring;
pub(crate) mod tun;
