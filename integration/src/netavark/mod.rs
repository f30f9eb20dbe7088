//! netavark: podman makes networks through the command `tapestry` as a plugin, and gets seats on them for its containers.
//!
//! [`wire`] is what the protocol writes, [`translate`] what it means to the agent, [`serve`] reads, asks and prints.
//! <https://github.com/containers/netavark/blob/main/plugin-API.md>, version 1.0.0.

mod serve;
mod translate;
mod wire;

pub use serve::{is_called, run};
