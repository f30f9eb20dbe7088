//! Names of one network: what to answer, what to forward, what to refuse.
//!
//! Pure decisions: no socket, no clock. [`Zone`] holds the names, [`answer()`] takes a message and says what to do.

mod answer;
mod zone;

pub use answer::{Answer, Policy, Transport, answer, servfail};
pub use zone::{EndpointNames, InsertNames, Zone, ZoneConfig};
