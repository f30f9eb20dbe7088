//! The per-host daemon: networks, endpoints, addresses, containers, and the wiring of all parts.

mod agent;
mod api_server;
mod cluster;
mod config;
mod edge;
mod random;
mod serve;
mod signals;

pub mod firewall;
pub mod probe;

mod container {
    pub(crate) use agent_container::{Shims as Supervisor, processes as supervised, *};
}
pub(crate) use agent_store as store;

pub use agent_core::ipam;
pub(crate) use agent_core::{name, record};

/// The host as the agent needs it: forwarding, limits, rights.
pub mod host {
    pub use agent_host::sysctl::{
        SetSysctl, SysctlChange, change, forwarding_changes, liberal_tracking_changes, restore,
    };
    pub use agent_host::{MissingRights, RaiseLimit, check_rights, raise_open_files};
}

/// Links, addresses and routes.
pub mod netlink {
    pub use agent_host::netlink::*;
    pub use agent_host::{Netns, NetnsId, OpenNetns, find_ways, netns_id};
}

pub use agent_host::{Holder, holder, publish};
pub use config::AgentOptions;
pub use serve::{RunAgent, run};
