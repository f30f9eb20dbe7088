//! Endpoints: what a request to attach a sandbox comes to, and what neighbours remember of addresses.

mod changed;
mod edge;
mod error;
mod past;
mod plan;

pub use changed::{LinkState, changed};
pub use error::Attach;
pub use past::{Past, announcements};
pub use plan::{Attachment, Fresh, Place, check_lease, check_names, lease_mac, plan};
