//! The per-host daemon: what is asked of the agent, and the wiring of all parts. [`agent`] says who owns what.

mod agent;
mod api_server;
mod captures;
mod config;
mod containers;
mod edge;
mod endpoints;
mod events;
mod flows;
mod follow;
mod ground;
mod guardian;
mod journal;
mod latency;
mod links;
mod locks;
mod metrics;
mod networks;
mod pace;
mod panics;
pub mod probe;
mod publishing;
mod random;
mod rounds;
mod seats;
mod serve;
mod service_manager;
mod sharing;
mod signals;
mod snapshot;
mod start;
mod turns;

pub use config::{AgentOptions, DockerOptions, DockerPlugin, check_config};
pub use guardian::{GUARDED, Guard, guard};
pub use serve::{Beside, RunAgent, run};
