//! The per-host daemon: networks, endpoints, addresses, containers, and the wiring of all parts.

pub mod container;
pub mod firewall;
pub mod host;
pub mod ipam;
pub mod netlink;
pub mod probe;
pub mod publish;
pub mod store;
