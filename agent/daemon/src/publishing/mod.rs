//! Publishing: host ports that lead to containers, and the packet filter that goes with networks and ports.
//!
//! # Theory of operation
//!
//! A container's ports are on record with it; here is which of them it holds now, and where they lead. A port is reserved under
//! the lock, so that two containers never get the same one, and then taken from the kernel without it. Ports follow their
//! container: when its addresses change they lead to the new ones, and nowhere while it has none.
//!
//! All acts on one container's ports come one after the other, by the container's turn or its endpoints' owner's.

mod again;
mod filter;
mod settings;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use agent_api::{PortMapping, PortRun, runs};
use agent_core::publish::{PublishPorts, entries, holder};
use agent_host::publish::{Absent, PublishPort, PublishedPorts, proxied};

pub(crate) use self::filter::{Filter, Underlay, Unsettled};

use crate::ground::Ground;
use crate::locks::lock;

/// Which containers hold which host ports.
pub(crate) struct Publishing {
    ground: Arc<Ground>,
    filter: Arc<Filter>,
    /// By container, those that publish anything and run.
    publishers: Mutex<BTreeMap<String, Publisher>>,
}

/// Who keeps other programs from a publisher's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    Agent,
    /// Whoever attached it: the agent must not be in the way of that.
    Caller,
}

impl Keeper {
    /// Which of the runs get sockets of the agent's. A port that is still to be picked is known to nobody else.
    fn proxied(self, runs: &[PortRun]) -> Vec<bool> {
        match self {
            Self::Agent => proxied(runs),
            Self::Caller => runs.iter().map(|run| run.host_port == 0).collect(),
        }
    }

    const fn unreachable(self) -> PublishPort {
        match self {
            Self::Agent => PublishPort::BeyondProxy,
            Self::Caller => PublishPort::BeyondFilter,
        }
    }
}

/// A container that publishes ports.
struct Publisher {
    name: String,
    keeper: Keeper,
    /// What was asked for; with the ports that were picked, once they are.
    runs: Vec<PortRun>,
    /// What nobody else may take.
    reserved: Vec<PortRun>,
    /// Dropping them frees them.
    held: Vec<PublishedPorts>,
    /// The container's addresses that they lead to, at most one per family.
    targets: Vec<IpAddr>,
}

impl Publishing {
    pub(crate) fn new(ground: Arc<Ground>, filter: Arc<Filter>) -> Self {
        Self {
            ground,
            filter,
            publishers: Mutex::default(),
        }
    }

    /// Takes the host ports that a new container asks for and opens the packet filter for them; all or none. Returns the
    /// mappings with the ports that were picked.
    pub(crate) fn publish(
        &self,
        (id, name): (&str, &str),
        keeper: Keeper,
        mut mappings: Vec<PortMapping>,
        targets: Vec<IpAddr>,
    ) -> Result<Vec<PortMapping>, PublishPorts> {
        let runs: Vec<PortRun> = runs(&mappings).collect();
        if runs.is_empty() {
            return Ok(mappings);
        }
        self.note(id, name, keeper, runs.clone());
        let published = self
            .take_all(id, keeper, &runs, (&targets, Absent::Refused))
            .and_then(|picked| {
                self.hold(id, picked);
                self.lead(id, targets)
            });
        if let Err(error) = published {
            self.unpublish(id);
            return Err(error);
        }
        let publishers = lock(&self.publishers);
        let picked = publishers.get(id).map(|publisher| publisher.runs.clone());
        let mut place = 0;
        for run in picked.unwrap_or_default() {
            mappings[place].host_port = run.host_port;
            place += usize::from(run.ports);
        }
        Ok(mappings)
    }

    /// A container that had its ports before the agent's start has them again, as far as they are to be had.
    pub(crate) fn resume(
        &self,
        (id, name): (&str, &str),
        keeper: Keeper,
        mappings: &[PortMapping],
        targets: Vec<IpAddr>,
    ) {
        let runs: Vec<PortRun> = runs(mappings).collect();
        if !runs.is_empty() {
            self.note(id, name, keeper, runs);
            self.follow(id, targets);
        }
    }

    /// Makes published ports lead to where their container is reached by now, and to nowhere while it is not. To be called
    /// after every change of a container's endpoints, before somebody else can have its former addresses.
    pub(crate) fn follow(&self, id: &str, targets: Vec<IpAddr>) {
        let (name, keeper, runs, is_open) = {
            let publishers = lock(&self.publishers);
            match publishers.get(id) {
                Some(publisher) if publisher.targets != targets => (
                    publisher.name.clone(),
                    publisher.keeper,
                    publisher.runs.clone(),
                    !publisher.held.is_empty(),
                ),
                _ => return,
            }
        };
        if targets.is_empty() {
            tracing::info!(
                container = name,
                "published ports are closed until the container is on a network with a way out again"
            );
            return self.close(id);
        }
        if !is_open {
            self.take_again(id, keeper, &runs, &targets);
        }
        if let Err(why) = self.lead(id, targets) {
            self.ground.warn(why.to_string());
        }
    }

    /// Those of some that publish anything; they are asked for only where anybody does.
    pub(crate) fn publishers(&self, some: impl FnOnce() -> Vec<String>) -> Vec<String> {
        if lock(&self.publishers).is_empty() {
            return Vec::new();
        }
        let mut some = some();
        let publishers = lock(&self.publishers);
        some.retain(|id| publishers.contains_key(id));
        some
    }

    /// What the publisher publishes by now, or does again once it can be reached.
    pub(crate) fn published_by(&self, id: &str) -> Vec<PortRun> {
        let publishers = lock(&self.publishers);
        let publisher = publishers.get(id);
        publisher.map_or_else(Vec::new, |publisher| publisher.runs.clone())
    }

    /// Frees the container's host ports for good; they are free when this returns.
    pub(crate) fn unpublish(&self, id: &str) {
        self.close(id);
        lock(&self.publishers).remove(id);
    }

    /// At the end of the agent, which takes the host ports along.
    pub(crate) fn close_all(&self) {
        lock(&self.publishers).clear();
    }

    fn note(&self, id: &str, name: &str, keeper: Keeper, runs: Vec<PortRun>) {
        let publisher = Publisher {
            name: name.to_owned(),
            keeper,
            runs,
            reserved: Vec::new(),
            held: Vec::new(),
            targets: Vec::new(),
        };
        lock(&self.publishers).insert(id.to_owned(), publisher);
    }

    fn hold(&self, id: &str, taken: Vec<PublishedPorts>) {
        if let Some(publisher) = lock(&self.publishers).get_mut(id) {
            if taken.len() == publisher.runs.len() {
                publisher.runs = taken.iter().map(|ports| *ports.run()).collect();
            }
            publisher.held = taken;
        }
    }

    fn take_all(
        &self,
        id: &str,
        keeper: Keeper,
        runs: &[PortRun],
        (targets, absent): (&[IpAddr], Absent),
    ) -> Result<Vec<PublishedPorts>, PublishPorts> {
        let each = runs.iter().zip(keeper.proxied(runs));
        each.map(|(run, proxied)| self.take(id, *run, (keeper, proxied), (targets, absent)))
            .collect()
    }

    /// Takes the ports of a container that had them before, as far as they are to be had.
    fn take_again(&self, id: &str, keeper: Keeper, runs: &[PortRun], targets: &[IpAddr]) {
        let mut taken = Vec::new();
        for (run, proxied) in runs.iter().zip(keeper.proxied(runs)) {
            match self.take(id, *run, (keeper, proxied), (targets, Absent::Awaited)) {
                Ok(ports) => taken.push(ports),
                Err(error) => {
                    let name = lock(&self.publishers)
                        .get(id)
                        .map(|publisher| publisher.name.clone());
                    let name = name.unwrap_or_default();
                    self.ground.warn(format!("container {name:?}: {error}"));
                }
            }
        }
        self.hold(id, taken);
    }

    /// One run, after making sure that no container has any of it and that it can be served.
    fn take(
        &self,
        id: &str,
        run: PortRun,
        (keeper, proxied): (Keeper, bool),
        (targets, absent): (&[IpAddr], Absent),
    ) -> Result<PublishedPorts, PublishPorts> {
        let refused = |why: PublishPort| PublishPorts::Refused {
            run,
            why: why.to_string(),
        };
        if targets.is_empty() {
            return Err(refused(PublishPort::NoTarget));
        }
        let within_reach = entries(&run, targets).any(|published| published.is_within_reach());
        if !proxied && !within_reach {
            return Err(refused(keeper.unreachable()));
        }
        for _ in 0..PICKS_MAX {
            let is_fixed = run.host_port != 0;
            if is_fixed {
                self.reserve(id, &run)?;
            }
            // Whoever keeps it since it was published is in nobody's way.
            if keeper == Keeper::Caller && !proxied && absent == Absent::Awaited {
                return Ok(PublishedPorts::kept_elsewhere(run));
            }
            let taken = PublishedPorts::take(run, proxied, absent, &self.ground.runtime);
            let taken = match taken {
                Ok(taken) => taken,
                // The port that the kernel picked is free in one family only.
                Err(PublishPort::AddressInUse { .. }) if !is_fixed => continue,
                Err(why) => {
                    self.unreserve(id, &run);
                    return Err(refused(why));
                }
            };
            // A picked one may be part of a long run, which holds no sockets.
            if is_fixed || self.reserve(id, taken.run()).is_ok() {
                return Ok(taken);
            }
        }
        Err(refused(PublishPort::NoneFree))
    }

    /// Keeps others away from a run, unless a container has one of its ports on an overlapping address, be it the same one.
    fn reserve(&self, id: &str, run: &PortRun) -> Result<(), PublishPorts> {
        let mut publishers = lock(&self.publishers);
        let reserved = publishers.values().flat_map(|publisher| {
            let runs = publisher.reserved.iter();
            runs.map(|run| (publisher.name.as_str(), run))
        });
        if let Some(holder) = holder(reserved, run) {
            return Err(PublishPorts::Taken {
                run: *run,
                holder: holder.to_owned(),
            });
        }
        if let Some(publisher) = publishers.get_mut(id) {
            publisher.reserved.push(*run);
        }
        Ok(())
    }

    /// What is not to be had of the kernel is not kept from others.
    fn unreserve(&self, id: &str, run: &PortRun) {
        if let Some(publisher) = lock(&self.publishers).get_mut(id) {
            publisher.reserved.retain(|reserved| reserved != run);
        }
    }

    /// Lets the ports lead to `targets`, the filter and the proxies alike.
    fn lead(&self, id: &str, targets: Vec<IpAddr>) -> Result<(), PublishPorts> {
        let Some((name, mut held)) = lock(&self.publishers).get_mut(id).map(|publisher| {
            let held = std::mem::take(&mut publisher.held);
            (publisher.name.clone(), held)
        }) else {
            return Ok(());
        };
        for ports in &mut held {
            self.ground.runtime.block_on(ports.lead_to(&targets));
        }
        {
            let mut publishers = lock(&self.publishers);
            let runs = held.iter().map(PublishedPorts::run);
            let published = runs.flat_map(|run| entries(run, &targets)).collect();
            self.filter.want_published(id, published);
            if let Some(publisher) = publishers.get_mut(id) {
                publisher.held = held;
                publisher.targets = targets;
            }
        }
        self.filter.settle().map_err(|why| PublishPorts::Host {
            name,
            why: why.to_string(),
        })
    }

    /// Frees the ports, which the container keeps on its list; they are free when this returns.
    fn close(&self, id: &str) {
        let held = match lock(&self.publishers).get_mut(id) {
            Some(publisher) => {
                publisher.targets.clear();
                std::mem::take(&mut publisher.held)
            }
            None => return,
        };
        let had = !held.is_empty();
        for ports in held {
            self.ground.runtime.block_on(ports.close());
        }
        {
            let mut publishers = lock(&self.publishers);
            self.filter.want_published(id, Vec::new());
            if let Some(publisher) = publishers.get_mut(id) {
                publisher.reserved.clear();
            }
        }
        if had && let Err(why) = self.filter.settle() {
            self.ground.warn(why.to_string());
        }
    }
}

/// How often the kernel is asked for a free port.
const PICKS_MAX: usize = 16;
