//! The kernel's settings that networks need, and what they were before.

use std::path::Path;

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

    /// Puts back what no network needs any more. Docker counts on a host that forwards already, so beside Docker it goes on.
    pub(super) fn restore_settings(&self, state: &mut State) {
        let needed = needed(state);
        let is_over = |change: &SysctlChange| !(needed.ipv4 && (needed.ipv6 || !change.is_ipv6()));
        let mut over: Vec<_> = state
            .settings
            .changes
            .extract_if(.., |change| is_over(change))
            .collect();
        if over.is_empty() {
            return;
        }
        let docker = self.firewall().is_ok_and(Firewall::is_beside_docker);
        let stays = |change: &SysctlChange| {
            docker && (change.is_forwarding(false) || change.is_forwarding(true))
        };
        over.retain(|change| !stays(change));
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

/// Where the host forwards only since the agent made it.
pub(super) fn own_forwarding(settings: &SettingsRecord) -> Families {
    let is_own = |ipv6| {
        settings
            .changes
            .iter()
            .any(|change| change.is_forwarding(ipv6))
    };
    Families {
        ipv4: is_own(false),
        ipv6: is_own(true),
    }
}

/// What the host has to forward: IPv4 for any host port, IPv6 for one of a network with IPv6.
fn needed(state: &State) -> Families {
    let routed = state.networks.values().map(|network| &network.record);
    let routed: Vec<_> = routed.filter(|record| record.has_host_port()).collect();
    Families {
        ipv4: !routed.is_empty(),
        ipv6: routed.iter().any(|record| record.subnet_v6().is_some()),
    }
}

/// What a setting was before the first change is what counts.
fn add(settings: &mut SettingsRecord, changes: &[SysctlChange]) {
    for change in changes {
        match settings
            .changes
            .iter_mut()
            .find(|known| known.name == change.name)
        {
            Some(known) => known.after.clone_from(&change.after),
            None => settings.changes.push(change.clone()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, before: &str) -> SysctlChange {
        SysctlChange {
            name: name.into(),
            before: before.into(),
            after: "1".into(),
        }
    }

    #[test]
    fn what_a_setting_was_first_is_what_is_restored() {
        let mut settings = SettingsRecord::default();
        add(&mut settings, &[change("net/ipv4/ip_forward", "0")]);
        assert_eq!(
            own_forwarding(&settings),
            Families {
                ipv4: true,
                ipv6: false
            }
        );
        add(
            &mut settings,
            &[
                change("net/ipv4/ip_forward", "2"),
                change("net/ipv6/conf/all/forwarding", "0"),
            ],
        );
        assert_eq!(settings.changes[0].before, "0");
        assert_eq!(
            own_forwarding(&settings),
            Families {
                ipv4: true,
                ipv6: true
            }
        );
    }
}
