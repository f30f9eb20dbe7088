//! The agent's decisions, and no I/O: what a request comes to, who gets which address, what the packet filter shall do.
//!
//! # Theory of operation
//!
//! Everything here is a function of values: of a request, of the records of what is, of what the host was seen to be. Who
//! calls passes the time and what is random, and does what comes out: keeps the record, makes the link, asks the kernel.

#![warn(clippy::iter_over_hash_type)]

pub mod acl;
pub mod capture;
pub mod container;
pub mod endpoint;
pub mod events;
pub mod find;
pub mod firewall;
pub mod flows;
pub mod hex;
pub mod hosts;
pub mod ipam;
pub mod mirror;
pub mod name;
pub mod network;
pub mod patch;
pub mod port_choice;
pub mod publish;
pub mod reconcile;
pub mod record;
pub mod resolv_conf;
pub mod restart;
pub mod settings;
pub mod shared;
pub mod station;
pub mod trace;

#[cfg(test)]
mod sample;
