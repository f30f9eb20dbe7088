//! Others' protocols and files on one side, the agent's API on the other.
//!
//! `tests/e2e` runs the whole product in network namespaces; `tests/arrows` holds the dependencies between crates.

pub mod cni;
pub mod docker;
mod driver;
pub mod graph;
pub mod lab;
mod line;
pub mod netavark;
