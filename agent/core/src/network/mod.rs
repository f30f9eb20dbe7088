//! What a request for a network comes to, and what its record says of its parts.

pub mod names;
pub mod options;
pub mod overlay;
pub mod plan;
pub mod ports;
