//! Upstream name servers: the resolver behind the forwarder.

mod upstream;

pub use dns_core::Transport;
pub use upstream::{Upstream, UpstreamCounters};
