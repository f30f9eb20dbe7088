//! Upstream name servers: the resolver behind the forwarder.

mod cache;
mod resolv_conf;
mod server;
mod upstream;

pub use dns_core::Transport;
pub use upstream::{Upstream, UpstreamCounters};
