//! Published ports, and the packet filter that goes with networks and ports.

use std::net::IpAddr;

use agent_api::{ApiError, PortRun, runs};
use agent_core::publish::{self, PublishPorts, entries, network_rules};
use agent_core::settings::own_forwarding;

use super::Agent;
use super::state::{State, UnderlayRules};
use crate::cluster::Member;
use crate::firewall::Rules;
use crate::publish::{Absent, PublishPort, PublishedPorts, proxied};
use crate::record::{NetworkRecord, Owner, SERVICES, container_key};

/// What a container has published.
#[derive(Default)]
pub(super) struct Publishing {
    /// Dropping them frees them.
    taken: Vec<PublishedPorts>,
    /// The container's addresses that they lead to, at most one per family.
    targets: Vec<IpAddr>,
}

impl Agent {
    /// Takes the host ports that a new container asks for and opens the packet filter for them; all or none.
    pub(super) fn publish(&self, state: &mut State, id: &str) -> Result<(), ApiError> {
        let Some(container) = state.containers.get(id) else {
            return Ok(());
        };
        let name = container.record.name.clone();
        let runs: Vec<PortRun> = runs(&container.record.create.publish).collect();
        let targets = targets(state, id);
        let mut place = 0;
        for (run, proxied) in runs.iter().zip(proxied(&runs)) {
            let taken = self.take(state, *run, proxied, (&targets, Absent::Refused))?;
            if let Some(container) = state.containers.get_mut(id) {
                container.record.create.publish[place].host_port = taken.run().host_port;
                container.published.taken.push(taken);
            }
            place += usize::from(run.ports);
        }
        if runs.is_empty() {
            return Ok(());
        }
        self.lead(state, id, targets)
            .map_err(|why| PublishPorts::Host { name, why })?;
        if let Some(container) = state.containers.get(id) {
            let kept = self.store.put(&container_key(id), &container.record);
            kept.map_err(|error| PublishPorts::Host {
                name: container.record.name.clone(),
                why: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Makes published ports lead to where their container is reached by now, and to nowhere while it is not. Call it after
    /// every change of a container's endpoints, before somebody else can have its former addresses.
    pub(super) fn follow_addresses(&self, state: &mut State, owner: &Owner) {
        let Owner::Container(id) = owner else { return };
        let Some(container) = state.containers.get(id) else {
            return;
        };
        let targets = targets(state, id);
        let is_at_end = container.init_pid.is_none() || container.record.create.publish.is_empty();
        if is_at_end || container.published.targets == targets {
            return;
        }
        if targets.is_empty() {
            tracing::info!(
                container = container.record.name,
                "published ports are closed until the container is on a network with a way out again"
            );
            return self.unpublish(state, id);
        }
        if container.published.taken.is_empty() {
            self.take_again(state, id, &targets);
        }
        if let Err(why) = self.lead(state, id, targets) {
            self.warn(why);
        }
    }

    /// Takes the ports of a container that had them before, as far as they are to be had.
    fn take_again(&self, state: &mut State, id: &str, targets: &[IpAddr]) {
        let Some(container) = state.containers.get(id) else {
            return;
        };
        let name = container.record.name.clone();
        let runs: Vec<PortRun> = runs(&container.record.create.publish).collect();
        for (run, proxied) in runs.iter().zip(proxied(&runs)) {
            match self.take(state, *run, proxied, (targets, Absent::Awaited)) {
                Ok(taken) => {
                    if let Some(container) = state.containers.get_mut(id) {
                        container.published.taken.push(taken);
                    }
                }
                Err(error) => self.warn(format!("container {name:?}: {error}")),
            }
        }
    }

    /// One run, after making sure that no container has any of it and that it can be served.
    fn take(
        &self,
        state: &State,
        run: PortRun,
        proxied: bool,
        (targets, absent): (&[IpAddr], Absent),
    ) -> Result<PublishedPorts, PublishPorts> {
        let refused = |why: PublishPort| PublishPorts::Refused {
            run: run.to_string(),
            why: why.to_string(),
        };
        if targets.is_empty() {
            return Err(refused(PublishPort::NoTarget));
        }
        let within_reach = entries(&run, targets).any(|published| published.is_within_reach());
        if !proxied && !within_reach {
            return Err(refused(PublishPort::BeyondProxy));
        }
        for _ in 0..PICKS_MAX {
            if let Some(holder) = holder(state, &run) {
                return Err(PublishPorts::Taken {
                    run: run.to_string(),
                    holder: holder.to_owned(),
                });
            }
            let taken = PublishedPorts::take(run, proxied, absent, &self.runtime);
            let taken = match taken {
                // The port that the kernel picked is free in one family only.
                Err(PublishPort::AddressInUse { .. }) if run.host_port == 0 => continue,
                taken => taken.map_err(refused)?,
            };
            // A picked one may be part of a long run, which holds no sockets.
            if holder(state, taken.run()).is_none() {
                return Ok(taken);
            }
        }
        Err(refused(PublishPort::NoneFree))
    }

    /// Lets the ports lead to `targets`, the filter and the proxies alike.
    fn lead(&self, state: &mut State, id: &str, targets: Vec<IpAddr>) -> Result<(), String> {
        if let Some(container) = state.containers.get_mut(id) {
            for ports in &mut container.published.taken {
                self.runtime.block_on(ports.lead_to(&targets));
            }
            container.published.targets = targets;
        }
        self.apply_firewall(state)
    }

    /// Frees the container's host ports; they are free when this returns.
    pub(super) fn unpublish(&self, state: &mut State, id: &str) {
        let Some(container) = state.containers.get_mut(id) else {
            return;
        };
        let published = std::mem::take(&mut container.published);
        if published.taken.is_empty() {
            return;
        }
        for ports in published.taken {
            self.runtime.block_on(ports.close());
        }
        if let Err(why) = self.apply_firewall(state) {
            self.warn(why);
        }
    }

    /// At the end of the agent, which takes the host ports along: whoever has a published port until the next start gets its
    /// packets, and where nobody has, clients are refused.
    pub(super) fn close_published(&self, state: &mut State) {
        let published = state.containers.values_mut();
        let closed = published
            .map(|container| std::mem::take(&mut container.published))
            .filter(|published| !published.taken.is_empty())
            .count();
        if closed > 0
            && let Err(why) = self.apply_firewall(state)
        {
            tracing::warn!(why, "published ports lead nowhere until the next start");
        }
    }

    /// Forgets all connections of addresses that are about to be somebody else's.
    pub(super) fn forget_connections(&self, released: &[IpAddr]) {
        if let Ok(firewall) = self.firewall() {
            firewall.forget_addresses(released);
        }
    }

    /// Opens the way to published ports from the host's loopback addresses, on links that came after the rules.
    pub(super) fn lead_loopback(&self, state: &State) {
        if let Ok(firewall) = self.firewall() {
            firewall.lead_loopback(&rules(state));
        }
    }

    /// Makes the packet filter fit the places where tunnels end and the cluster's hosts listen, if those are others than
    /// before.
    pub(super) fn guard_tunnels(&self, state: &mut State, member: Option<&Member>) {
        if state.has_left {
            return;
        }
        let underlay = UnderlayRules {
            tunnels: state.tunnels.addresses(),
            services: member.map(Member::services).unwrap_or_default(),
        };
        if state.underlay == underlay {
            return;
        }
        if state.underlay.services != underlay.services
            && let Err(error) = self.store.put(SERVICES, &underlay.services)
        {
            tracing::warn!(%error, "the next start does not know at once where the cluster's hosts listen");
        }
        state.underlay = underlay;
        if let Err(why) = self.apply_firewall(state) {
            self.warn(why);
        }
    }

    /// Makes the packet filter fit the networks, published ports and tunnels there are; without any there is nothing in it.
    pub(super) fn apply_firewall(&self, state: &State) -> Result<(), String> {
        let firewall = self.firewall().map_err(|error| error.to_string())?;
        let routed = state
            .networks
            .values()
            .any(|network| network.record.has_host_port());
        let applied = match routed || !state.underlay.tunnels.is_empty() {
            true => firewall.apply(&rules(state)),
            false => firewall.remove(),
        };
        applied.map_err(|error| error.to_string())
    }
}

fn records(state: &State) -> impl Iterator<Item = &NetworkRecord> {
    state.networks.values().map(|network| &network.record)
}

fn rules(state: &State) -> Rules {
    let published = state.containers.values().flat_map(|container| {
        let Publishing { taken, targets } = &container.published;
        taken
            .iter()
            .flat_map(move |ports| entries(ports.run(), targets))
    });
    Rules {
        networks: records(state).filter_map(network_rules).collect(),
        published: published.collect(),
        tunnels: state.tunnels.addresses(),
        services: state.underlay.services.clone(),
        own_forwarding: own_forwarding(&state.settings),
        ..Rules::default()
    }
}

fn targets(state: &State, id: &str) -> Vec<IpAddr> {
    let owner = Owner::Container(id.to_owned());
    let endpoints: Vec<_> = state
        .networks
        .values()
        .flat_map(|network| {
            let endpoints = network.endpoints_of(&owner);
            endpoints.map(move |endpoint| (&network.record, &endpoint.record))
        })
        .collect();
    publish::targets(&endpoints)
}

/// A container that publishes one of the ports on an overlapping address, be it the same one.
fn holder<'s>(state: &'s State, wanted: &PortRun) -> Option<&'s str> {
    let published = state.containers.values().flat_map(|container| {
        let taken = container.published.taken.iter();
        taken.map(|ports| (container.record.name.as_str(), ports.run()))
    });
    publish::holder(published, wanted)
}

/// How often the kernel is asked for a free port.
const PICKS_MAX: usize = 16;
