//! What the agent is allowed to do.

use rustix::thread::{CapabilitySet, capabilities};

/// Capabilities that are needed and missing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent lacks {}; run it as root", names.join(", "))]
pub struct MissingRights {
    pub names: Vec<&'static str>,
}

/// Whether the calling thread may make TAPs, enter namespaces and change the packet filter.
pub fn check_rights() -> Result<(), MissingRights> {
    // A kernel without capabilities is not one we run on; then the first use says what is wrong.
    let effective = capabilities(None).map_or(CapabilitySet::all(), |sets| sets.effective);
    let names: Vec<&'static str> = NEEDED
        .iter()
        .filter(|(capability, _)| !effective.contains(*capability))
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        Ok(())
    } else {
        Err(MissingRights { names })
    }
}

const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"),
];
