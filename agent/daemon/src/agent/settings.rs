//! The kernel's settings that networks need, and what they were before.

use std::path::Path;

use agent_core::settings::{self, add, is_dockers_too, take_surplus};

use super::Agent;
use super::state::State;
use crate::firewall::{Families, Firewall};
use crate::host::{self, SysctlChange};
use crate::netlink::netns_id;
use crate::record::{SETTINGS, SettingsRecord};
use crate::store::StoreError;

impl Agent {
    /// What an earlier life of the agent changed on this host since it was booted.
    pub(super) fn known_settings(&self) -> Result<SettingsRecord, StoreError> {
        let place = place();
        let known = self.store.get::<SettingsRecord>(SETTINGS)?;
        Ok(known
            .filter(|known| known.place == place)
            .unwrap_or(SettingsRecord {
                place,
                changes: Vec::new(),
            }))
    }

    /// Makes the changes that [`plan`] has put on record.
    pub(super) fn make_settings(
        &self,
        state: &mut State,
        changes: &[SysctlChange],
    ) -> Result<(), String> {
        self.make_changes(state, changes)?;
        // Known only once there are rules that track.
        let liberal = host::liberal_tracking_changes();
        add(&mut state.settings, &liberal);
        if let Err(why) = self.make_changes(state, &liberal) {
            self.warn(format!("{why}; segments out of their window are dropped"));
        }
        Ok(())
    }

    fn make_changes(&self, state: &State, changes: &[SysctlChange]) -> Result<(), String> {
        if changes.is_empty() {
            return Ok(());
        }
        self.keep_settings(state)?;
        host::change(changes).map_err(|error| error.to_string())?;
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

    /// Puts back what no network needs any more. Beside Docker it goes on forwarding.
    pub(super) fn restore_settings(&self, state: &mut State) {
        let needed = needed(state);
        let mut over = take_surplus(&mut state.settings, needed);
        if over.is_empty() {
            return;
        }
        if self.firewall().is_ok_and(Firewall::is_beside_docker) {
            over.retain(|change| !is_dockers_too(change));
        }
        host::restore(&over);
        for change in &over {
            tracing::info!(
                setting = change.name,
                value = change.before,
                "kernel setting restored"
            );
        }
        if let Err(why) = self.keep_settings(state) {
            tracing::warn!(why, "settings that are restored stay on record");
        }
    }

    fn keep_settings(&self, state: &State) -> Result<(), String> {
        self.store
            .put(SETTINGS, &state.settings)
            .map_err(|error| error.to_string())
    }
}

/// Adds what is to be changed to the record of what was, and returns it.
pub(super) fn plan(state: &mut State) -> Vec<SysctlChange> {
    let changes = host::forwarding_changes(needed(state).ipv6);
    add(&mut state.settings, &changes);
    changes
}

fn needed(state: &State) -> Families {
    settings::needed(state.networks.values().map(|network| &network.record))
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
