//! Names of one network: what to answer, what to forward, what to refuse.
//!
//! Pure decisions: no socket, no clock. [`Zone`] holds the names, [`answer()`] takes a message and says what to do,
//! [`Request`] is what the forwarder needs to shape a reply that came from elsewhere.

mod answer;
mod group;
mod private;
mod request;
mod service;
mod zone;

pub use answer::{Answer, Policy, absent, answer, answer_among, servfail};
pub use private::PrivateNames;
pub use request::{Request, Transport};
pub use service::{Carrier, Service, ServiceTarget};
pub use zone::{EndpointNames, InsertNames, Lookup, Zone, ZoneConfig, check_name};
