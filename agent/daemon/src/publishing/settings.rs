//! The kernel's settings that networks need, and what they were before.

use std::path::Path;
use std::sync::{Arc, Mutex};

use agent_core::firewall::Families;
use agent_core::record::{SETTINGS, SettingsRecord, SysctlChange};
use agent_core::settings;
use agent_host::netns_id;
use agent_host::sysctl::{self, SetSysctl};
use agent_store::StoreError;

use crate::ground::Ground;
use crate::locks::lock;

/// What the agent changed on this host, for as long as something needs it.
pub(super) struct Settings {
    ground: Arc<Ground>,
    record: Mutex<SettingsRecord>,
}

/// Why the host does not do what networks need.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeSettings {
    #[error("the kernel settings that are to be changed cannot be put on record: {0}")]
    Record(#[from] StoreError),
    #[error(transparent)]
    Host(#[from] SetSysctl),
}

impl Settings {
    /// With what an earlier life of the agent changed on this host since it was booted.
    pub(super) fn read(ground: Arc<Ground>) -> Result<Self, StoreError> {
        let place = place();
        let known = ground.journal.get::<SettingsRecord>(SETTINGS)?;
        let record = known
            .filter(|known| known.place == place)
            .unwrap_or(SettingsRecord {
                place,
                changes: Vec::new(),
            });
        Ok(Self {
            ground,
            record: Mutex::new(record),
        })
    }

    pub(super) fn record(&self) -> SettingsRecord {
        lock(&self.record).clone()
    }

    /// Undoes [`Settings::plan`] where nothing was changed: `before` is what was on record then.
    pub(super) fn take_back(&self, before: SettingsRecord) {
        *lock(&self.record) = before;
    }

    /// Whether the host forwards what is needed.
    pub(super) fn is_forwarding(&self, needed: Families) -> bool {
        let missing = |ipv6| {
            let changes = sysctl::forwarding_changes(ipv6);
            changes.iter().any(|change| change.is_forwarding(ipv6))
        };
        !(needed.ipv4 && missing(false) || needed.ipv6 && missing(true))
    }

    /// Adds to the record what has to change so that the host forwards.
    pub(super) fn plan(&self, needed: Families) -> Vec<SysctlChange> {
        let changes = sysctl::forwarding_changes(needed.ipv6);
        settings::add(&mut lock(&self.record), &changes);
        changes
    }

    /// Makes the changes that are planned.
    pub(super) fn make(&self, planned: &[SysctlChange]) -> Result<(), MakeSettings> {
        self.change(planned)?;
        // Known only once there are rules that track.
        let liberal = sysctl::liberal_tracking_changes();
        settings::add(&mut lock(&self.record), &liberal);
        if let Err(why) = self.change(&liberal) {
            self.ground
                .warn(format!("{why}; segments out of their window are dropped"));
        }
        Ok(())
    }

    fn change(&self, changes: &[SysctlChange]) -> Result<(), MakeSettings> {
        if changes.is_empty() {
            return Ok(());
        }
        self.keep()?;
        sysctl::change(changes)?;
        for change in changes {
            tracing::info!(
                setting = change.name,
                before = change.before,
                after = change.after,
                "kernel setting changed"
            );
        }
        Ok(())
    }

    /// Puts back what no network needs any more. Docker counts on a host that forwards already, so beside Docker, which is asked
    /// for where there is anything to put back, it goes on.
    pub(super) fn restore(&self, needed: Families, is_beside_docker: impl FnOnce() -> bool) {
        let mut over = settings::take_surplus(&mut lock(&self.record), needed);
        if over.is_empty() {
            return;
        }
        let docker = is_beside_docker();
        over.retain(|change| !docker || !settings::is_dockers_too(change));
        sysctl::restore(&over);
        for change in &over {
            tracing::info!(
                setting = change.name,
                value = change.before,
                "kernel setting restored"
            );
        }
        if let Err(error) = self.keep() {
            tracing::warn!(%error, "settings that are restored stay on record");
        }
    }

    fn keep(&self) -> Result<(), StoreError> {
        let kept = self.ground.journal.put(SETTINGS, &*lock(&self.record));
        kept.wait()
    }
}

/// This life of this host's network namespace.
fn place() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let netns = netns_id(Path::new("/proc/self/ns/net"));
    let netns = netns.map_or_else(
        |_| String::new(),
        |id| format!("{}:{}", id.device, id.inode),
    );
    format!("{}/{netns}", boot.trim())
}
