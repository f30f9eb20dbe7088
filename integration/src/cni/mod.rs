//! CNI: a container runtime calls the command `tapestry` as a plugin, and gets a seat on a tapestry network for its container.
//!
//! [`wire`] is what the specification writes, [`translate`] what it means to the agent, [`serve`] reads, asks and prints.
//! <https://github.com/containernetworking/cni/blob/main/SPEC.md>, versions 0.4.0, 1.0.0 and 1.1.0.

mod interface;
mod serve;
mod translate;
mod wire;

pub use serve::{is_called, run};
