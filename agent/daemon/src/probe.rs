//! What the data plane finds on this host: for `tapestry doctor`.

use switch_io::{OffloadTap, Switch, SwitchConfig};

pub use switch_io::{EngineKind, EngineReport, OffloadMask, OpenTap, StartSwitch};

/// What a TAP made here hands over unfinished. Makes one in the caller's network namespace for a moment.
pub fn tap_offloads() -> Result<OffloadMask, OpenTap> {
    // At most 15 bytes: an interface's name.
    let name = format!("tsyp{:x}", std::process::id());
    OffloadTap::create(&name).map(|tap| tap.offload())
}

/// The engine that an agent started now would take, and why not the faster one.
pub fn engine() -> Result<EngineReport, StartSwitch> {
    let config = SwitchConfig {
        workers: 1,
        ..SwitchConfig::default()
    };
    Switch::start(config).map(|switch| switch.engine().clone())
}
