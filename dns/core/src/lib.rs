//! Names of one network: what to answer, what to forward, what to refuse.
//!
//! Pure decisions: no socket, no clock. [`Zone`] holds the names, [`answer()`] takes a message and says what to do,
//! [`Request`] is what the forwarder needs to shape a reply that came from elsewhere.

#![warn(clippy::iter_over_hash_type)]

mod answer;
mod carrier;
mod group;
mod lookup;
mod name;
mod private;
mod rebind;
mod request;
mod service;
mod zone;

pub use answer::{Answer, Policy, absent, answer, answer_among, servfail};
pub use carrier::Carrier;
pub use lookup::Lookup;
pub use name::{InvalidName, check_name};
pub use private::PrivateNames;
pub use rebind::strip_private;
pub use request::{NoQuery, Request};
pub use service::{Service, ServiceTarget};
pub use zone::{EndpointNames, InsertNames, Zone, ZoneConfig};
