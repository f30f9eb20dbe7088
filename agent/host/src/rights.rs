//! What the agent is allowed to do.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

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

/// Leaves the calling thread, for good, no right but that to any file; for one that does nothing else.
pub fn keep_file_rights() -> std::io::Result<()> {
    let kept = CapabilitySet::DAC_OVERRIDE;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    Ok(set_no_new_privs(true)?)
}

/// Leaves the calling thread, for good, no right that root has beyond others.
pub fn keep_no_rights() -> std::io::Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"),
];
