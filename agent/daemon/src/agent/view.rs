//! What the API shows of the agent's state.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use agent_api::{
    ContainerDetail, ContainerState, ContainerSummary, Driver, EndpointDetail, FdbEntryView,
    FdbKind, NetworkDetail, NetworkSummary, PortTotals, PortView, Scope,
};
use switch_core::{Mac, PortCounts, PortId, PortKind, Time};
use switch_io::Switch;

use super::container_spec::capabilities;
use super::endpoint::sandbox_of;
use super::overlay::Tunnels;
use super::segment::on_link;
use super::state::{Container, Endpoint, Network, State};
use super::view_overlay;
use crate::container::attach::SOCKET_FILE;
use crate::container::log;
use crate::firewall::Drops;
use crate::record::{NetworkRecord, Owner, Phase};
use agent_core::network::DRIVER_OFFLOAD;

pub(super) fn network_summary(record: &NetworkRecord) -> NetworkSummary {
    NetworkSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        driver: record.driver,
        scope: if record.driver == Driver::Overlay {
            Scope::Global
        } else {
            Scope::Local
        },
        no_way_out: None,
        labels: record.labels.clone(),
    }
}

/// The same of a network that is here, with what ails it.
pub(super) fn present_summary(network: &Network) -> NetworkSummary {
    NetworkSummary {
        no_way_out: network.closed.clone(),
        ..network_summary(&network.record)
    }
}

pub(super) fn network_detail(
    switch: &Switch,
    tunnels: &Tunnels,
    network: &Network,
) -> NetworkDetail {
    let record = &network.record;
    let segment = network.segment.as_ref();
    let ids: Vec<_> = owners(network).into_keys().collect();
    let gone = segment.map(|segment| segment.gone.clone());
    let mut sum = gone.clone().unwrap_or_default();
    for counts in switch.counters_of(&ids).values() {
        sum += counts;
    }
    NetworkDetail {
        summary: present_summary(network),
        subnets: record.subnets.iter().map(|subnet| subnet.net).collect(),
        gateways: record.gateway_addresses(),
        gateway_mac: segment.map(|segment| segment.gateway_mac.to_string()),
        ip_range: record.ip_range,
        ipv6: record.subnet_v6().is_some(),
        internal: record.internal,
        mtu: record.mtu,
        dns: record.dns.clone(),
        options: record.options.clone(),
        host_link: segment
            .and_then(|segment| segment.host.as_ref())
            .map(|host| host.link.clone()),
        endpoints: network
            .endpoints
            .values()
            .map(|endpoint| self::endpoint(network, endpoint))
            .collect(),
        drops: drops(&sum),
        gone: gone.map(|gone| totals(&gone)),
        forwarder: segment.and_then(|segment| segment.edge.report()),
        dhcp: segment.and_then(|segment| segment.edge.dhcp()),
        overlay: view_overlay::overlay(switch, tunnels, network),
        patches: Vec::new(),
    }
}

pub(super) fn endpoint(network: &Network, endpoint: &Endpoint) -> EndpointDetail {
    let record = &endpoint.record;
    let subnets = &network.record.subnets;
    let with_prefix = |address| {
        subnets
            .iter()
            .find(|subnet| subnet.net.contains(&address))
            .map(|subnet| on_link(address, subnet.net))
    };
    EndpointDetail {
        id: record.id.clone(),
        network: network.record.name.clone(),
        name: record.name.clone(),
        mac: Mac::new(record.mac).to_string(),
        addresses: record
            .addresses()
            .into_iter()
            .filter_map(with_prefix)
            .collect(),
        gateways: network.record.gateway_addresses(),
        link: endpoint.link.clone(),
        port: endpoint.port.map(|port| port.0),
        aliases: record.aliases.clone(),
        sandbox: record.sandbox.clone(),
        up: !record.down,
        moved: record.moved.is_some(),
    }
}

pub(super) fn fdb(now: Time, network: &Network) -> Vec<FdbEntryView> {
    let Some(segment) = &network.segment else {
        return Vec::new();
    };
    let owners = owners(network);
    let mut rows: Vec<_> = segment
        .bridge
        .fdb()
        .snapshot(now)
        .into_iter()
        .map(|entry| FdbEntryView {
            mac: entry.mac.to_string(),
            port: entry.port.0,
            owner: owners.get(&entry.port).cloned().unwrap_or_default(),
            kind: match entry.kind {
                switch_core::FdbKind::Learned => FdbKind::Learned,
                switch_core::FdbKind::Static => FdbKind::Static,
                switch_core::FdbKind::Sticky => FdbKind::Sticky,
            },
            age_s: (entry.kind == switch_core::FdbKind::Learned).then_some(entry.age.as_secs()),
        })
        .collect();
    rows.sort_by(|one, other| one.mac.cmp(&other.mac));
    rows
}

pub(super) fn ports(switch: &Switch, network: &Network) -> Vec<PortView> {
    let Some(segment) = &network.segment else {
        return Vec::new();
    };
    let owners = owners(network);
    let ids: Vec<_> = owners.keys().copied().collect();
    let mut counters = switch.counters_of(&ids);
    let mut rows: Vec<_> = owners
        .into_iter()
        .map(|(port, owner)| {
            let counts = counters.remove(&port).unwrap_or_default();
            // A port that is down is none of the bridge's; only those of endpoints can be.
            let config = segment.bridge.port_config(port);
            let kind = Some(config.map_or(PortKind::Tap, |config| config.kind));
            PortView {
                port: port.0,
                kind: kind.map(|kind| kind.name().to_owned()).unwrap_or_default(),
                link: link(network, port),
                tap_driver: match kind {
                    Some(PortKind::Tap) => Some(network.record.tap_driver().to_owned()),
                    Some(PortKind::Host) => Some(DRIVER_OFFLOAD.to_owned()),
                    _ => None,
                },
                owner,
                rx_frames: counts.rx_frames,
                rx_bytes: counts.rx_bytes,
                tx_frames: counts.tx_frames,
                tx_bytes: counts.tx_bytes,
                drops: drops(&counts),
            }
        })
        .collect();
    rows.sort_by_key(|row| row.port);
    rows
}

pub(super) fn container_summary(state: &State, container: &Container) -> ContainerSummary {
    let record = &container.record;
    let owner = Owner::Container(record.id.clone());
    let on = |network: &&Network| network.endpoints_of(&owner).next().is_some();
    ContainerSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        command: record.create.command.clone(),
        state: match (record.phase, container.init_pid) {
            (Phase::Exited(code), _) => ContainerState::Exited { code },
            (Phase::Running, Some(pid)) => ContainerState::Running { pid },
            (Phase::Created | Phase::Running, _) => ContainerState::Created,
        },
        created_s: record.created_s,
        since_s: record.since_s,
        publish: record.create.publish.clone(),
        networks: state
            .networks
            .values()
            .filter(on)
            .map(|network| network.record.name.clone())
            .collect(),
        labels: record.create.labels.clone(),
    }
}

pub(super) fn container_detail(
    state: &State,
    container: &Container,
    dir: &Path,
) -> ContainerDetail {
    let record = &container.record;
    let owner = Owner::Container(record.id.clone());
    let endpoints = state.networks.values().flat_map(|network| {
        let mine = network.endpoints_of(&owner);
        mine.map(move |endpoint| self::endpoint(network, endpoint))
    });
    ContainerDetail {
        summary: container_summary(state, container),
        hostname: record.hostname.clone(),
        network_mode: record.create.network.clone(),
        capabilities: capabilities(&record.create).unwrap_or_default().names(),
        privileged: record.create.privileged,
        endpoints: endpoints.collect(),
        sandbox: container.init_pid.map(sandbox_of),
        attach: dir.join(SOCKET_FILE),
        log: dir.join(log::FILE),
    }
}

/// Every port of the network, and who is behind it.
fn owners(network: &Network) -> HashMap<PortId, String> {
    let mut owners = HashMap::new();
    if let Some(segment) = &network.segment {
        owners.insert(segment.edge_port, "gateway".to_owned());
        if let Some(host) = &segment.host {
            owners.insert(host.port, "host".to_owned());
        }
        let tunnels = segment.tunnels.iter();
        owners.extend(tunnels.map(|(remote, tunnel)| (tunnel.port, remote.to_string())));
        let patches = segment.patches.values();
        owners.extend(patches.map(|patch| (patch.port, patch.leads_to.clone())));
    }
    let endpoints = network.endpoints.values().filter_map(|endpoint| {
        endpoint
            .port
            .map(|port| (port, endpoint.record.name.clone()))
    });
    owners.extend(endpoints);
    owners
}

fn link(network: &Network, port: PortId) -> Option<String> {
    let host = network
        .segment
        .as_ref()
        .and_then(|segment| segment.host.as_ref());
    if let Some(host) = host.filter(|host| host.port == port) {
        return Some(host.link.clone());
    }
    network
        .endpoints
        .values()
        .find(|endpoint| endpoint.port == Some(port))
        .map(|endpoint| endpoint.link.clone())
}

fn totals(counts: &PortCounts) -> PortTotals {
    PortTotals {
        rx_frames: counts.rx_frames,
        rx_bytes: counts.rx_bytes,
        tx_frames: counts.tx_frames,
        tx_bytes: counts.tx_bytes,
        drops: drops(counts),
    }
}

pub(super) fn drops(counts: &PortCounts) -> BTreeMap<String, u64> {
    counts
        .drop_reasons()
        .map(|(reason, count)| (reason.name().to_owned(), count))
        .collect()
}

/// What the packet filter dropped on the way through the host port `link`.
pub(super) fn filter_drops(filtered: &Drops, link: &str) -> impl Iterator<Item = (String, u64)> {
    let drops = filtered.of(link).into_iter();
    drops.map(|(reason, packets)| (reason.name().to_owned(), packets))
}
