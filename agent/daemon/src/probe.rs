//! What the data plane may use on this host: for `tapestry doctor`.

pub use switch_io::{HostSupport, OffloadMask, probe};
