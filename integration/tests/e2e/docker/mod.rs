//! Docker's containers on tapestry networks, by Docker's own commands.

mod engine;
mod run;
