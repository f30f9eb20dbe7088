//! What netavark asks for, in the agent's words, and the agent's answer in netavark's.
//!
//! # Theory of operation
//!
//! Podman keeps a network in a file of its own and never says that it removed one. So `create` makes the network at once, under
//! podman's id, which holds its subnets against everybody else's; `setup` makes it again where it has gone; and one that podman
//! has forgotten goes when its name is asked for again, or by `tapestry network rm`. The agent gives the addresses, also to
//! containers of others on the same network, unless podman is told to by `--ipam-driver host-local`.
//!
//! The agent keeps what is attached; the plugin keeps nothing. An endpoint is known again by an alias made of the container's id,
//! by its network and by its link's name, so that teardown finds it when the namespace has gone.

mod endpoint;
mod network;
mod ports;
mod subnet;

use serde::de::DeserializeOwned;

use super::wire::Failure;

pub(super) use endpoint::{endpoint, find, status};
pub(super) use network::{Wanted, check_joined, filled, is_forgotten, name_of, wanted};

pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(text)
        .map_err(|error| Failure::new(format!("standard input is not understood: {error}")))
}
