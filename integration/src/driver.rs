//! Which driver of the agent's a network has whose engine knows one for all.

use std::collections::BTreeMap;

use agent_api::Driver;

/// The one that is named, which is no option of the agent's then. Else an option that only an overlay has makes one.
pub(crate) fn driver_for(options: &BTreeMap<String, String>) -> Driver {
    let named = options.get(DRIVER).map(String::as_str);
    let is_overlay = OVERLAY_OPTIONS
        .iter()
        .any(|name| options.contains_key(*name));
    match named {
        Some("macvlan") => Driver::Macvlan,
        Some("ipvlan") => Driver::Ipvlan,
        Some("overlay") => Driver::Overlay,
        _ if is_overlay => Driver::Overlay,
        _ => Driver::Bridge,
    }
}

/// The same, of options that go to the agent.
pub(crate) fn take_driver(options: &mut BTreeMap<String, String>) -> Driver {
    let driver = driver_for(options);
    options.remove(DRIVER);
    driver
}

/// Names the driver, where the engine's own word for it is taken: `docker network create -d tapestry -o driver=macvlan`.
pub(crate) const DRIVER: &str = "driver";
/// What it may be.
pub(crate) const DRIVERS: [&str; 4] = ["bridge", "overlay", "macvlan", "ipvlan"];

/// As `tapestry network create -o` takes them.
const OVERLAY_OPTIONS: [&str; 8] = [
    "encap", "vni", "remote", "dstport", "local", "tos", "ttl", "df",
];
