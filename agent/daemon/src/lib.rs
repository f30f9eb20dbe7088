//! The per-host daemon: networks, endpoints, addresses, containers, and the wiring of all parts.

mod agent;
mod api_server;
mod config;
mod edge;
mod random;
mod serve;
mod signals;

pub mod probe;

pub(crate) use agent_cluster as cluster;
mod container {
    pub(crate) use agent_container::{Shims as Supervisor, processes as supervised, *};
}
mod store {
    pub(crate) use agent_core::shared::Entry;
    pub(crate) use agent_store::*;
}

pub(crate) use agent_core::ipam;
pub(crate) use agent_core::{name, record};

/// The host's packet filter.
pub(crate) mod firewall {
    pub(crate) use agent_core::firewall::*;
    pub(crate) use agent_host::firewall::*;
}

/// The host as the agent needs it: forwarding, limits, rights.
pub(crate) mod host {
    pub(crate) use agent_host::sysctl::{
        SysctlChange, change, forwarding_changes, liberal_tracking_changes, restore,
    };
    pub(crate) use agent_host::{MissingRights, check_rights, raise_open_files};
}

/// Links, addresses and routes.
pub(crate) mod netlink {
    pub(crate) use agent_host::netlink::*;
    pub(crate) use agent_host::{Netns, NetnsId, find_ways, netns_id};
}

pub(crate) use agent_host::publish;
pub use config::AgentOptions;
pub use serve::{RunAgent, run};
