//! Sandboxes that somebody else made, and that go without a word to the agent.
//!
//! A TAP is made inside its sandbox, because moving one there takes the kernel tens of milliseconds. Its descriptor then
//! keeps the namespace alive, so the kernel never says that a sandbox has died. What the agent can see is whether the paths
//! by which it was attached still lead to it; it looks every few seconds. Where none does, the sandbox lives on if another
//! path does, of a mount or of a process, and is known by that one from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use switch_core::PortId;
use switch_io::{RemovedPort, SwitchEvent};

use super::Agent;
use super::state::{Endpoint, State, leads_to};
use crate::name::short;
use crate::netlink::{NetnsId, find_ways};
use crate::record::{Owner, endpoint_key};

impl Agent {
    /// Detaches endpoints whose sandbox or link is gone. Those of containers go when the container's end is seen.
    pub(super) fn watch_sandboxes(self: &Arc<Self>) {
        let agent = Arc::downgrade(self);
        self.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
            for turn in 0.. {
                ticks.tick().await;
                let Some(agent) = agent.upgrade() else { return };
                // It only fails when the agent is shutting down.
                let _ = tokio::task::spawn_blocking(move || agent.sweep_sandboxes(turn)).await;
            }
        });
        let events = self.switch.events();
        let agent = Arc::downgrade(self);
        let watching = std::thread::Builder::new()
            .name("port-events".into())
            .spawn(move || {
                while let Ok(SwitchEvent::PortGone(port)) = events.recv() {
                    let Some(agent) = agent.upgrade() else { return };
                    agent.port_gone(port);
                }
            });
        if let Err(error) = watching {
            self.warn(format!(
                "endpoints whose link was deleted will stay: {error}"
            ));
        }
    }

    /// A rack of sandboxes may go at once: between handfuls others get their turn, and the kernel takes its time for a
    /// handful of links together.
    fn sweep_sandboxes(&self, turn: usize) {
        self.note_some_moves(&mut self.state(), turn);
        let lost = lost_sandboxes(&self.state());
        if lost.is_empty() {
            return;
        }
        let found = find_ways(&lost);
        self.follow_sandboxes(&mut self.state(), &found);
        loop {
            let removed = self.lose_some(&lost);
            if removed.is_empty() {
                return;
            }
            std::thread::scope(|scope| {
                for port in removed {
                    scope.spawn(move || drop(port));
                }
            });
        }
    }

    /// Keeps the paths that lead to sandboxes now, in place of those that do not any more.
    fn follow_sandboxes(&self, state: &mut State, found: &BTreeMap<NetnsId, PathBuf>) {
        let networks = state.networks.values_mut();
        for endpoint in networks.flat_map(|network| network.endpoints.values_mut()) {
            let record = &mut endpoint.record;
            let Owner::Sandbox(sandbox) = record.owner else {
                continue;
            };
            let Some(path) = found.get(&sandbox) else {
                continue;
            };
            record.sandbox = Some(path.clone());
            if let Err(error) = self.store.put(&endpoint_key(&record.id), record) {
                tracing::warn!(endpoint = short(&record.id), %error, "an endpoint will not come back after a restart");
            }
        }
    }

    /// Detaches up to [`HANDFUL`] endpoints whose sandbox was lost and has not been found again.
    fn lose_some(&self, lost: &BTreeSet<NetnsId>) -> Vec<RemovedPort> {
        let mut state = self.state();
        let gone: BTreeSet<_> = lost_sandboxes(&state).intersection(lost).copied().collect();
        let is_gone = |endpoint: &Endpoint| foreign(endpoint).is_some_and(|id| gone.contains(&id));
        let mut ids = state.endpoint_ids(is_gone);
        ids.truncate(HANDFUL);
        ids.into_iter()
            .filter_map(|(network, id)| self.lose(&mut state, &network, &id))
            .collect()
    }

    fn port_gone(&self, port: PortId) {
        // Dropped after the lock.
        let mut removed = Vec::new();
        let mut state = self.state();
        let behind = state
            .endpoint_ids(|endpoint| endpoint.port == Some(port) && foreign(endpoint).is_some());
        for (network, id) in behind {
            removed.extend(self.lose(&mut state, &network, &id));
        }
    }

    fn lose(&self, state: &mut State, network_id: &str, id: &str) -> Option<RemovedPort> {
        if let Some(network) = state.networks.get(network_id)
            && let Some(endpoint) = network.endpoints.get(id)
        {
            tracing::info!(
                endpoint = endpoint.record.name,
                network = network.record.name,
                "sandbox is gone"
            );
        }
        self.detach(state, network_id, id)
    }
}

/// Sandboxes to which none of the paths leads by which they are known.
fn lost_sandboxes(state: &State) -> BTreeSet<NetnsId> {
    let (mut lost, mut there) = (BTreeSet::new(), BTreeSet::new());
    let networks = state.networks.values();
    for endpoint in networks.flat_map(|network| network.endpoints.values()) {
        let Some(sandbox) = foreign(endpoint) else {
            continue;
        };
        let path = endpoint.record.sandbox.as_deref();
        let leads = path.is_some_and(|path| leads_to(path, sandbox));
        let known = if leads { &mut there } else { &mut lost };
        known.insert(sandbox);
    }
    lost.difference(&there).copied().collect()
}

/// The sandbox of an endpoint, if somebody else made it.
fn foreign(endpoint: &Endpoint) -> Option<NetnsId> {
    match endpoint.record.owner {
        Owner::Sandbox(sandbox) => Some(sandbox),
        Owner::Container(_) => None,
    }
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
const HANDFUL: usize = 32;
