//! Which driver of the agent's a network has whose engine knows one for all.

use std::collections::BTreeMap;

use agent_api::Driver;

/// An option that only an overlay has makes one.
pub(crate) fn driver_for(options: &BTreeMap<String, String>) -> Driver {
    let is_overlay = OVERLAY_OPTIONS
        .iter()
        .any(|name| options.contains_key(*name));
    match is_overlay {
        true => Driver::Overlay,
        false => Driver::Bridge,
    }
}

/// As `tapestry network create -o` takes them.
const OVERLAY_OPTIONS: [&str; 8] = [
    "encap", "vni", "remote", "dstport", "local", "tos", "ttl", "df",
];
