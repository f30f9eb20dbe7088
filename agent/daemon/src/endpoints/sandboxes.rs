//! Sandboxes that somebody else made, and that go without a word to the agent.
//!
//! A TAP is made inside its sandbox, because moving one there takes the kernel tens of milliseconds. Its descriptor then
//! keeps the namespace alive, so the kernel never says that a sandbox has died. What the agent can see is whether the paths
//! by which it was attached still lead to it. It looks when something was mounted or unmounted, twice a second where a path is a
//! process's, whose end nobody tells, and every few seconds in any case. Where none does, the sandbox lives on if another
//! path does, of a mount or of a process, and is known by that one from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use agent_core::events::Notice;
use agent_core::record::{NetnsId, Owner};
use agent_host::netlink::{SandboxWatch, Stir};
use agent_host::{find_ways, netns_id};
use switch_core::Block;
use switch_core::vlan::Vid;
use switch_io::SwitchEvent;

use super::{Endpoints, Place};
use crate::pace::rest_after;
use crate::panics::{end, essential};
use crate::seats::Attached;

impl Endpoints {
    /// Detaches endpoints whose sandbox is gone, and makes links again that were deleted. Those of containers go when the
    /// container's end is seen.
    pub(crate) fn watch_sandboxes(self: &Arc<Self>) {
        let watch = SandboxWatch::open();
        let watch = watch.map_err(|error| {
            self.ground.warn(format!(
                "what happens in sandboxes is seen late, or not at all: {error}"
            ));
        });
        self.attend_all();
        let endpoints = Arc::downgrade(self);
        let attending = std::thread::Builder::new()
            .name("sandboxes".into())
            .spawn(move || essential(|| attend(&endpoints, watch.ok().as_ref())));
        let events = self.ground.switch.events();
        let endpoints = Arc::downgrade(self);
        let take_events = move || {
            while let Ok(event) = events.recv() {
                let Some(endpoints) = endpoints.upgrade() else {
                    return;
                };
                endpoints.take_event(event);
            }
        };
        let told = std::thread::Builder::new()
            .name("port-events".into())
            .spawn(|| essential(take_events));
        if let Err(error) = attending.and(told) {
            self.ground.warn(format!(
                "endpoints whose sandbox goes, or whose link was deleted, will stay: {error}"
            ));
        }
    }

    fn take_event(&self, event: SwitchEvent) {
        match event {
            SwitchEvent::PortGone(port) => self.port_gone(port),
            SwitchEvent::PortBlocked(port, why) => {
                let (network, owner) = self.networks.owner_of(port);
                let action = match why {
                    Block::Loop(_) => "loop",
                    Block::Fault => "fault",
                    Block::Bpdu => "bpdu",
                };
                let told = Notice::port(action, port.0, (&network, &owner));
                self.ground.events.tell(in_vlan(told, why));
                match why {
                    Block::Loop(vlan) => tracing::warn!(
                        network,
                        owner,
                        port = port.0,
                        vlan = vlan.map(Vid::get),
                        "port is blocked: what leaves by it comes back by another; it opens when that has been over for a while"
                    ),
                    Block::Bpdu => tracing::warn!(
                        network,
                        owner,
                        port = port.0,
                        "port is blocked: it sent a BPDU, as switches do; `tapestry port up` opens it"
                    ),
                    Block::Fault => tracing::error!(
                        network,
                        owner,
                        port = port.0,
                        "port is blocked: its frames make the switch fail; detach and attach it again to open it"
                    ),
                }
            }
            SwitchEvent::PortUnblocked(port, why) => {
                let (network, owner) = self.networks.owner_of(port);
                let action = match why {
                    Block::Loop(_) | Block::Fault => "loop-end",
                    Block::Bpdu => "bpdu-end",
                };
                let told = Notice::port(action, port.0, (&network, &owner));
                self.ground.events.tell(in_vlan(told, why));
                tracing::info!(network, owner, port = port.0, "port is open again");
            }
            SwitchEvent::Broken => end(),
        }
    }

    /// How long nobody looks where nothing is heard: a sandbox that is known by a process ends without a word.
    fn patience(&self) -> Duration {
        let known = self.foreign_sandboxes();
        let of_process = |path: &PathBuf| path.starts_with("/proc");
        match known.values().flatten().any(of_process) {
            true => OF_PROCESS_INTERVAL,
            false => SWEEP_INTERVAL,
        }
    }

    /// A rack of sandboxes may go at once, and the kernel takes its time for a handful of links together.
    fn sweep(&self) {
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

    pub(super) fn lose(&self, place: &Place, attached: &Attached) {
        tracing::info!(
            endpoint = attached.record.name,
            network = place.record.name,
            "sandbox is gone"
        );
        self.let_go(place, &attached.record.owner, &attached.record.id);
    }

    /// Sandboxes to which none of the paths leads by which they are known.
    fn lost(&self) -> BTreeSet<NetnsId> {
        let known = self.foreign_sandboxes().into_iter();
        let lost =
            known.filter(|(sandbox, paths)| !paths.iter().any(|path| leads_to(path, *sandbox)));
        lost.map(|(sandbox, _)| sandbox).collect()
    }

    fn foreign_sandboxes(&self) -> BTreeMap<NetnsId, BTreeSet<PathBuf>> {
        let mut known: BTreeMap<NetnsId, BTreeSet<PathBuf>> = BTreeMap::new();
        for place in self.networks.places() {
            for (sandbox, path) in place.seats.foreign_sandboxes() {
                known.entry(sandbox).or_default().extend(path);
            }
        }
        known
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

/// What is told of a loop says in which VLAN it was, where the network is aware of them.
fn in_vlan(told: Notice, why: Block) -> Notice {
    match why {
        Block::Loop(Some(vid)) => told.with("vlan", vid),
        Block::Loop(None) | Block::Fault | Block::Bpdu => told,
    }
}

/// Until there are no endpoints any more.
fn attend(endpoints: &Weak<Endpoints>, watch: Option<&SandboxWatch>) {
    let mut looked = Instant::now();
    let (mut due, mut asked, mut turn, mut missed) = (looked, looked, 0, false);
    let mut rested = looked;
    loop {
        let stir = hear(watch, due, rested);
        let Some(endpoints) = endpoints.upgrade() else {
            return;
        };
        let start = Instant::now();
        endpoints.follow(&stir);
        rested = Instant::now() + rest_after(start.elapsed());
        missed |= stir.overrun;
        if stir.mounts {
            due = due.min(looked + MOUNTS_INTERVAL);
        }
        if Instant::now() < due {
            continue;
        }
        endpoints.sweep();
        if asked.elapsed() >= SWEEP_INTERVAL {
            match std::mem::take(&mut missed) {
                true => endpoints.look_everywhere(),
                false => endpoints.note_some_moves(turn),
            }
            (asked, turn) = (Instant::now(), turn + 1);
        }
        looked = Instant::now();
        due = looked + endpoints.patience();
    }
}

/// What happens until `due`, or first happens and whatever else does until `rested`.
fn hear(watch: Option<&SandboxWatch>, due: Instant, rested: Instant) -> Stir {
    let mut stir = hear_for(watch, due.saturating_duration_since(Instant::now()));
    loop {
        let rest = rested.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return stir;
        }
        stir += hear_for(watch, rest);
    }
}

fn hear_for(watch: Option<&SandboxWatch>, limit: Duration) -> Stir {
    match watch.map(|watch| watch.wait(limit)) {
        Some(Ok(stir)) => return stir,
        Some(Err(error)) => tracing::warn!(%error, "what happens in sandboxes is not heard"),
        None => {}
    }
    std::thread::sleep(limit);
    Stir::default()
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
const OF_PROCESS_INTERVAL: Duration = Duration::from_millis(500);
/// While containers come and go there is a mount for each.
const MOUNTS_INTERVAL: Duration = Duration::from_millis(400);
const HANDFUL: usize = 32;
