//! Docker's containers on tapestry networks, by Docker's own commands.

mod activation;
mod apart;
mod compose;
mod containerlab;
mod engine;
mod managed;
mod network;
mod overlay;
mod ports;
mod restarts;
mod run;
mod socket;

pub(crate) use engine::{Docker, IMAGE};
