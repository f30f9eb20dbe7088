//! Upstream name servers: the resolver behind the forwarder.

mod address;
mod cache;
mod case;
mod failure;
mod lock;
mod places;
mod resolv_conf;
mod server;
mod server_set;
mod trust;
mod upstream;

pub use address::{Protocol, ServerAddress};
pub use dns_core::Carrier;
pub use failure::Failure;
pub use upstream::{Upstream, UpstreamCounters};
