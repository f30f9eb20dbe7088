//! Docker's containers on tapestry networks, by Docker's own commands.

mod engine;
mod managed;
mod network;
mod ports;
mod restarts;
mod run;
mod socket;
