//! Sandboxes that somebody else made, and that go without a word to the agent.
//!
//! A TAP is made inside its sandbox, because moving one there takes the kernel tens of milliseconds. Its descriptor then
//! keeps the namespace alive, so the kernel never says that a sandbox has died. What the agent can see is whether the paths
//! by which it was attached still lead to it; it looks every few seconds. Where none does, the sandbox lives on if another
//! path does, of a mount or of a process, and is known by that one from then on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_core::record::{NetnsId, Owner};
use agent_host::{find_ways, netns_id};
use switch_core::{Block, PortId};
use switch_io::SwitchEvent;

use super::{Endpoints, Place};
use crate::panics::{end, essential};
use crate::seats::Attached;

impl Endpoints {
    /// Detaches endpoints whose sandbox or link is gone. Those of containers go when the container's end is seen.
    pub(crate) fn watch_sandboxes(self: &Arc<Self>) {
        let endpoints = Arc::downgrade(self);
        self.ground.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
            for turn in 0.. {
                ticks.tick().await;
                let Some(endpoints) = endpoints.upgrade() else {
                    return;
                };
                // It only fails when the agent is shutting down.
                let _ = tokio::task::spawn_blocking(move || endpoints.sweep(turn)).await;
            }
        });
        let events = self.ground.switch.events();
        let endpoints = Arc::downgrade(self);
        let watch = move || {
            while let Ok(event) = events.recv() {
                let Some(endpoints) = endpoints.upgrade() else {
                    return;
                };
                endpoints.take_event(event);
            }
        };
        let watching = std::thread::Builder::new()
            .name("port-events".into())
            .spawn(|| essential(watch));
        if let Err(error) = watching {
            self.ground.warn(format!(
                "endpoints whose link was deleted will stay: {error}"
            ));
        }
    }

    fn take_event(&self, event: SwitchEvent) {
        match event {
            SwitchEvent::PortGone(port) => self.port_gone(port),
            SwitchEvent::PortBlocked(port, why) => {
                let (network, owner) = self.networks.owner_of(port);
                match why {
                    Block::Loop => tracing::warn!(
                        network,
                        owner,
                        port = port.0,
                        "port is blocked: what leaves by it comes back by another; it opens when that has been over for a while"
                    ),
                    Block::Fault => tracing::error!(
                        network,
                        owner,
                        port = port.0,
                        "port is blocked: its frames make the switch fail; detach and attach it again to open it"
                    ),
                }
            }
            SwitchEvent::PortUnblocked(port) => {
                let (network, owner) = self.networks.owner_of(port);
                tracing::info!(network, owner, port = port.0, "port is open again");
            }
            SwitchEvent::Broken => end(),
        }
    }

    /// A rack of sandboxes may go at once, and the kernel takes its time for a handful of links together.
    fn sweep(&self, turn: usize) {
        self.note_some_moves(turn);
        let lost = self.lost();
        if lost.is_empty() {
            return;
        }
        let found = find_ways(&lost);
        for place in self.networks.places() {
            place.seats.follow_sandboxes(&found, &self.ground.journal);
        }
        let gone: BTreeSet<_> = self.lost().intersection(&lost).copied().collect();
        let foreign = self.foreign().into_iter();
        let left: Vec<_> = foreign
            .filter(|(_, _, sandbox)| gone.contains(sandbox))
            .collect();
        for handful in left.chunks(HANDFUL) {
            std::thread::scope(|scope| {
                for (place, attached, _) in handful {
                    scope.spawn(move || self.lose(place, attached));
                }
            });
        }
    }

    fn port_gone(&self, port: PortId) {
        for place in self.networks.places() {
            if let Some(attached) = place.seats.behind(port)
                && !matches!(attached.record.owner, Owner::Container(_))
            {
                self.lose(&place, &attached);
            }
        }
    }

    fn lose(&self, place: &Place, attached: &Attached) {
        tracing::info!(
            endpoint = attached.record.name,
            network = place.record.name,
            "sandbox is gone"
        );
        self.let_go(place, &attached.record.owner, &attached.record.id);
    }

    /// Sandboxes to which none of the paths leads by which they are known.
    fn lost(&self) -> BTreeSet<NetnsId> {
        let (mut lost, mut there) = (BTreeSet::new(), BTreeSet::new());
        for (_, attached, sandbox) in self.foreign() {
            let path = attached.record.sandbox.as_deref();
            let leads = path.is_some_and(|path| leads_to(path, sandbox));
            let known = if leads { &mut there } else { &mut lost };
            known.insert(sandbox);
        }
        lost.difference(&there).copied().collect()
    }

    /// The endpoints of sandboxes that somebody else made.
    fn foreign(&self) -> Vec<(Place, Attached, NetnsId)> {
        let foreign = self.all().into_iter().filter_map(|(place, attached)| {
            let sandbox = foreign(&attached)?;
            Some((place, attached, sandbox))
        });
        foreign.collect()
    }
}

pub(crate) fn leads_to(path: &Path, sandbox: NetnsId) -> bool {
    netns_id(path).is_ok_and(|id| id == sandbox)
}

/// The sandbox of an endpoint, if somebody else made it.
fn foreign(attached: &Attached) -> Option<NetnsId> {
    match attached.record.owner {
        Owner::Sandbox(sandbox) => Some(sandbox),
        Owner::Container(_) | Owner::Engine(_) => None,
    }
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
const HANDFUL: usize = 32;
