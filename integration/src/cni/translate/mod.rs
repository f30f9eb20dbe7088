//! What CNI asks for, in the agent's words, and the agent's answer in CNI's.
//!
//! # Theory of operation
//!
//! The agent keeps what is attached; the plugin keeps nothing. An endpoint is known again by an alias made of the container's id,
//! by its network and by its link's name, so that DEL, CHECK and GC find it when the namespace has gone.

mod bandwidth;
mod check;
mod environment;
mod given;
mod known;
mod ports;
mod request;
mod success;
mod vlans;
mod words;

pub(super) use check::{Present, compare};
pub use environment::Environment;
pub(super) use given::{Delegate, delegate_of, take};
pub(super) use known::{find, garbage};
pub(super) use request::{endpoint, network_of, read_config};
pub(super) use success::success;
pub(super) use words::check_words;
