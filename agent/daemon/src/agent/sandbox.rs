//! Sandboxes that somebody else made, and that go without a word to the agent.
//!
//! A TAP is made inside its sandbox, because moving one there takes the kernel tens of milliseconds. Its descriptor then
//! keeps the namespace alive, so the kernel never says that a sandbox has died. What the agent can see is that the
//! namespace file it was given is gone, or stands for another namespace; it looks every few seconds.

use std::sync::Arc;
use std::time::Duration;

use switch_core::PortId;
use switch_io::{RemovedPort, SwitchEvent};

use super::Agent;
use super::state::{Endpoint, State};
use crate::netlink::NetnsId;
use crate::record::Owner;

impl Agent {
    /// Detaches endpoints whose sandbox or link is gone. Those of containers go when the container's end is seen.
    pub(super) fn watch_sandboxes(self: &Arc<Self>) {
        let agent = Arc::downgrade(self);
        self.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                ticks.tick().await;
                let Some(agent) = agent.upgrade() else { return };
                // It only fails when the agent is shutting down.
                let _ = tokio::task::spawn_blocking(move || agent.sweep_sandboxes()).await;
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
    fn sweep_sandboxes(&self) {
        loop {
            let removed = self.lose_some();
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

    /// Detaches up to [`HANDFUL`] endpoints whose sandbox is gone.
    fn lose_some(&self) -> Vec<RemovedPort> {
        let mut state = self.state();
        let mut gone = state.endpoint_ids(is_gone);
        gone.truncate(HANDFUL);
        gone.into_iter()
            .filter_map(|(network, id)| self.lose(&mut state, &network, &id))
            .collect()
    }

    fn port_gone(&self, port: PortId) {
        // Dropped after the lock.
        let mut removed = Vec::new();
        let mut state = self.state();
        let behind =
            state.endpoint_ids(|endpoint| endpoint.port == Some(port) && is_foreign(endpoint));
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

fn is_foreign(endpoint: &Endpoint) -> bool {
    matches!(endpoint.record.owner, Owner::Sandbox(_))
}

fn is_gone(endpoint: &Endpoint) -> bool {
    match &endpoint.record.owner {
        Owner::Sandbox(path) => !NetnsId::of(path).is_ok_and(|id| id == endpoint.sandbox),
        Owner::Container(_) => false,
    }
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
const HANDFUL: usize = 32;
