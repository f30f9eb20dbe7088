//! Hosts that cannot reach each other go through one that reaches both.
//!
//! # Theory of operation
//!
//! The two ends make the same connection as ever, with the same certificates, over a path of another kind: each of its UDP
//! payloads crosses as one datagram of the connection that an end has with the relay ([`RelayHeader`]). So the relay
//! sees what a router on the way would see, and has no key to it.
//!
//! ```text
//!   alpha ====== connection with the relay ====== relay ====== connection with the relay ====== beta
//!         ------------------------ connection of alpha and beta ------------------------------
//! ```
//!
//! - *What is passed on*: only between two hosts that the relay is connected to directly, and to another than the one it came from. The
//!   sender writes for whom it is. From whom it is, the relay writes, by the certificate of the connection it came over. So nobody
//!   speaks as another, nothing goes round, and nothing that was relayed is relayed again.
//! - *How much*: [`RelayBudget`]. What is beyond it is lost, as on any path that is too narrow.
//! - *Over whom*: the end that dials chooses ([`Ways`]), among hosts that are up and say in their hello that they pass on
//!   ([`crate::Capabilities::RELAYS`]). A connection stays with its relay as long as that serves, and the answers take the same way: whoever
//!   was dialed need not choose.
//! - *When*: where a dial found nobody, the next one goes over a relay, if there is one, and the one after that directly again.
//! - *Back*: while a host is up over a relay, it is dialed directly now and then ([`DirectTries`]). A connection that comes about
//!   takes over by its hello, as that of another run does ([`crate::Peer`]), so nothing is lost.

pub use budget::RelayBudget;
pub use header::{Leg, RelayHeader};
pub use tries::{DirectTries, Try};
pub use ways::{RelayCandidate, Way, Ways};

mod budget;
mod header;
mod tries;
mod ways;
