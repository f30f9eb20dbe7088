//! Docker, CNI and netavark plugins for the agent, and the end-to-end tests.
