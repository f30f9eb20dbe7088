//! Upstream name servers: the resolver behind the forwarder.

mod address;
mod cache;
mod case;
mod failure;
mod places;
mod rebind;
mod resolv_conf;
mod server;
mod trust;
mod upstream;

pub use address::{Protocol, ServerAddress};
pub use dns_core::Transport;
pub use failure::Failure;
pub use upstream::{Upstream, UpstreamCounters};
