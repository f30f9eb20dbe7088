//! Docker, CNI and netavark plugins: their protocols on one side, the agent's API on the other.
//!
//! `tests/e2e` runs the whole product in network namespaces; `tests/arrows` holds the dependencies between crates.
