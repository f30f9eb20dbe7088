//! The per-host daemon: networks, endpoints, addresses, containers, and the wiring of all parts.

mod agent;
mod api_server;
mod cluster;
mod config;
mod edge;
mod random;
mod serve;
mod signals;
mod sole;

pub mod firewall;
pub mod host;
pub mod netlink;
pub mod probe;
pub mod publish;

pub(crate) use agent_container as container;
pub(crate) use agent_store as store;

pub use agent_core::ipam;
pub(crate) use agent_core::{name, record};
pub use config::AgentOptions;
pub use serve::{RunAgent, run};
pub use sole::{Holder, holder};
