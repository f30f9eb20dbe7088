//! What takes untrusted bytes: one function per parser, which panics where something does not hold.
//!
//! # Theory of operation
//!
//! A [`Target`] takes any bytes through a part of the product, as far as that part goes without I/O, and asserts what must be
//! true of the outcome besides that there is one. It keeps nothing from one call to the next, so that an input that fails once
//! fails always. Three callers share the targets:
//!
//! - `tests/replay.rs` gives each its stored inputs ([`corpus`]) and mutations of them, always the same ones ([`mutate`]),
//! - `make fuzz` mutates with an eye on which branches were taken: `driver/`, a crate outside the workspace, because the whole
//!   product has to be compiled otherwise for that,
//! - `src/main.rs` moves inputs between the corpus, which people read, and the folders that the driver works on.
//!
//! To add a target: a file in `targets/`, a line in [`TARGETS`], a file of the same name in `corpus/` with an input or two.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a target says that something does not hold"
)]

pub mod corpus;
mod input;
pub mod mutate;
mod targets;

use targets::*;

/// A part of the product that takes untrusted bytes.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    /// Takes one input through everything. Panics when something does not hold.
    pub run: fn(&[u8]),
    /// Longest input that is worth a try, in bytes.
    pub length_max: usize,
    /// Byte sequences that matter in the format.
    pub words: &'static [&'static [u8]],
}

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Every target, by name.
pub const TARGETS: &[Target] = &[
    api::TARGET,
    attach::TARGET,
    capture::TARGET,
    config::TARGET,
    dhcp::TARGET,
    edge::TARGET,
    frame::TARGET,
    lab::TARGET,
    multicast::TARGET,
    netlink::TARGET,
    peer::TARGET,
    permit::TARGET,
    plugin::TARGET,
    question::TARGET,
    record::TARGET,
    signer::TARGET,
    snapshot::TARGET,
    store::TARGET,
    token::TARGET,
    tunnel::TARGET,
    upstream::TARGET,
];
