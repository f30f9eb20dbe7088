//! Published ports, and the packet filter that goes with networks and ports.

use std::net::{IpAddr, SocketAddr};

use agent_api::{ApiError, PortMapping, TransportProtocol};

use super::Agent;
use super::endpoint::addresses;
use super::error::Contain;
use super::settings::own_forwarding;
use super::state::{Network, State, UnderlayRules};
use crate::cluster::Member;
use crate::firewall::{self, NetworkRules, Rules};
use crate::publish::{PublishSpec, publish};
use crate::record::{Owner, SERVICES, container_key};

impl Agent {
    /// Takes the host ports that the container asks for and opens the packet filter for them.
    pub(super) fn publish(&self, state: &mut State, id: &str) -> Result<(), ApiError> {
        let Some(container) = state.containers.get(id) else {
            return Ok(());
        };
        let name = container.record.name.clone();
        let mappings = container.record.create.publish.clone();
        if mappings.is_empty() {
            return Ok(());
        }
        let targets = container_addresses(state, id);
        for (place, mapping) in mappings.iter().enumerate() {
            if let Some(holder) = holder(state, id, mapping) {
                return Err(Contain::Published(shown(mapping), holder).into());
            }
            let spec = PublishSpec {
                protocol: mapping.protocol,
                host_ip: mapping.host_ip,
                host_port: mapping.host_port,
                container: targets
                    .iter()
                    .map(|address| SocketAddr::new(*address, mapping.container_port))
                    .collect(),
            };
            let published = publish(&spec, &self.runtime).map_err(|error| Contain::Publish {
                mapping: shown(mapping),
                why: error.to_string(),
            })?;
            if let Some(container) = state.containers.get_mut(id) {
                container.record.create.publish[place].host_port = published.host_port();
                container.published.push(published);
            }
        }
        self.apply_firewall(state)
            .map_err(|why| Contain::Host { name, why })?;
        if let Some(container) = state.containers.get(id) {
            let kept = self.store.put(&container_key(id), &container.record);
            kept.map_err(|error| Contain::Host {
                name: container.record.name.clone(),
                why: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Frees the container's host ports; they are free when this returns.
    pub(super) fn unpublish(&self, state: &mut State, id: &str) {
        let Some(container) = state.containers.get_mut(id) else {
            return;
        };
        let published = std::mem::take(&mut container.published);
        if published.is_empty() {
            return;
        }
        for port in published {
            self.runtime.block_on(port.close());
        }
        if let Err(why) = self.apply_firewall(state) {
            self.warn(why);
        }
    }

    /// Makes the packet filter fit the places where tunnels end and the cluster's hosts listen, if those are others than
    /// before.
    pub(super) fn guard_tunnels(&self, state: &mut State, member: Option<&Member>) {
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

    /// Makes the packet filter fit the networks, published ports and tunnels there are.
    pub(super) fn apply_firewall(&self, state: &State) -> Result<(), String> {
        let firewall = self.firewall().map_err(|error| error.to_string())?;
        firewall
            .apply(&rules(state))
            .map_err(|error| error.to_string())
    }
}

fn rules(state: &State) -> Rules {
    let published = state
        .containers
        .values()
        .filter(|container| !container.published.is_empty())
        .flat_map(|container| {
            let targets = container_addresses(state, &container.record.id);
            let mappings = container.record.create.publish.iter();
            mappings.flat_map(move |mapping| {
                let same_family = |target: &IpAddr| {
                    mapping
                        .host_ip
                        .is_none_or(|host| host.is_ipv4() == target.is_ipv4())
                };
                let targets: Vec<_> = targets.iter().copied().filter(same_family).collect();
                targets.into_iter().map(|target| firewall::Published {
                    protocol: mapping.protocol,
                    host_ip: mapping.host_ip,
                    host_port: mapping.host_port,
                    container: SocketAddr::new(target, mapping.container_port),
                })
            })
        });
    Rules {
        networks: state.networks.values().filter_map(network_rules).collect(),
        published: published.collect(),
        tunnels: state.tunnels.addresses(),
        services: state.underlay.services.clone(),
        own_forwarding: own_forwarding(&state.settings),
        ..Rules::default()
    }
}

fn network_rules(network: &Network) -> Option<NetworkRules> {
    let record = &network.record;
    record.has_host_port().then(|| NetworkRules {
        host_link: record.host_link(),
        subnets: record.subnets.iter().map(|subnet| subnet.net).collect(),
        masquerade: true,
        anti_spoof: true,
    })
}

/// The addresses by which a container is reached from the host: those on its first network that has a host port.
fn container_addresses(state: &State, id: &str) -> Vec<IpAddr> {
    let owner = Owner::Container(id.to_owned());
    let reachable = state
        .networks
        .values()
        .filter(|network| network_rules(network).is_some());
    let mut endpoints = reachable.flat_map(|network| network.endpoints_of(&owner));
    endpoints
        .next()
        .map(|endpoint| addresses(&endpoint.record))
        .unwrap_or_default()
}

/// Another container that publishes the same port on an overlapping address.
fn holder(state: &State, id: &str, wanted: &PortMapping) -> Option<String> {
    let overlaps = |mapping: &PortMapping| {
        let same_address = mapping.host_ip.is_none()
            || wanted.host_ip.is_none()
            || mapping.host_ip == wanted.host_ip;
        mapping.protocol == wanted.protocol
            && mapping.host_port == wanted.host_port
            && wanted.host_port != 0
            && same_address
    };
    let mut others = state
        .containers
        .values()
        .filter(|other| other.record.id != id && !other.published.is_empty());
    others
        .find(|other| other.record.create.publish.iter().any(overlaps))
        .map(|other| other.record.name.clone())
}

fn shown(mapping: &PortMapping) -> String {
    let protocol = match mapping.protocol {
        TransportProtocol::Tcp => "tcp",
        TransportProtocol::Udp => "udp",
    };
    match mapping.host_ip {
        Some(ip) => format!("{}/{protocol}", SocketAddr::new(ip, mapping.host_port)),
        None => format!("{}/{protocol}", mapping.host_port),
    }
}
