//! CNI: a container runtime calls the command `tapestry` as a plugin, and gets a seat on a tapestry network for its container.
//!
//! [`wire`] is what the specification writes, [`translate`] what it means to the agent, [`serve`] reads, asks and prints,
//! [`delegate`] calls the plugin that gives addresses, where the network's own are not wanted.
//! <https://github.com/containernetworking/cni/blob/main/SPEC.md>, versions 0.4.0, 1.0.0 and 1.1.0.

mod delegate;
mod interface;
mod serve;
mod translate;
mod wire;

pub use serve::{is_called, run};
