//! The per-host daemon: networks, endpoints, addresses, containers, and the wiring of all parts.

pub mod container;
