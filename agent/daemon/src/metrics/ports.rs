//! Networks and their ports.

use std::collections::BTreeMap;

use agent_core::firewall::FilterDrop;
use switch_core::{Dialect, DropReason, PortCounts, PortKind};

use super::exposition::{Exposition, Label};
use super::label;
use super::metric::Metric;
use crate::networks::{MeteredNetwork, MeteredPort, Station};

/// The labels of reasons, made once a scrape.
#[derive(Default)]
pub(super) struct Reasons(BTreeMap<&'static str, Label>);

impl Reasons {
    fn of(&mut self, name: &'static str) -> &Label {
        self.0.entry(name).or_insert_with(|| label(name))
    }
}

pub(super) fn network(
    told: &mut Exposition,
    reasons: &mut Reasons,
    network: &MeteredNetwork,
    per_port: bool,
) {
    let name = &label(&network.name);
    let (id, driver) = (label(&network.id), label(network.driver));
    told.whole(Metric::Network, &[name, &id, &driver], 1);
    let endpoints = u64::try_from(network.endpoints).unwrap_or(u64::MAX);
    told.whole(Metric::NetworkEndpoints, &[name], endpoints);
    told.whole(Metric::NetworkClosed, &[name], u64::from(network.is_closed));
    let totals = &network.totals;
    for (metric, count) in [
        (Metric::NetworkReceiveFrames, totals.rx_frames),
        (Metric::NetworkReceiveBytes, totals.rx_bytes),
        (Metric::NetworkTransmitFrames, totals.tx_frames),
        (Metric::NetworkTransmitBytes, totals.tx_bytes),
    ] {
        told.whole(metric, &[name], count);
    }
    drops(told, reasons, name, network);
    stations(told, name, network);
    multicast(told, name, network);
    for (priority, count) in &network.acl {
        let priority = priority.map_or("default".to_owned(), |priority| priority.to_string());
        told.whole(Metric::AclHits, &[name, &label(&priority)], *count);
    }
    names(told, name, network);
    for port in &network.ports {
        if port.kind == PortKind::Tunnel {
            tunnel(told, name, port);
        }
        if per_port {
            self::port(told, reasons, name, port);
        }
    }
}

/// Each reason, also those that never happened, so that the first time is seen as a change.
fn drops(told: &mut Exposition, reasons: &mut Reasons, name: &Label, network: &MeteredNetwork) {
    for reason in DropReason::ALL {
        let count = network.totals.dropped(*reason);
        told.whole(
            Metric::NetworkDrops,
            &[name, reasons.of(reason.name())],
            count,
        );
    }
    for reason in FilterDrop::ALL.map(FilterDrop::name) {
        let mut counted = network.filtered.iter();
        let count = counted.find(|(counted, _)| *counted == reason);
        let count = count.map_or(0, |(_, count)| *count);
        told.whole(Metric::NetworkDrops, &[name, reasons.of(reason)], count);
    }
}

fn stations(told: &mut Exposition, name: &Label, network: &MeteredNetwork) {
    let seen = &network.stations;
    for (event, count) in [
        ("learned", seen.learned),
        ("moved", seen.moved),
        ("aged", seen.aged),
        ("evicted", seen.evicted),
        ("refused", seen.refused),
        ("port_full", seen.port_full),
    ] {
        told.whole(Metric::NetworkStations, &[name, &label(event)], count);
    }
}

fn multicast(told: &mut Exposition, name: &Label, network: &MeteredNetwork) {
    let Some(counts) = &network.multicast else {
        return;
    };
    for dialect in Dialect::ALL {
        let protocol = label(dialect.name());
        for (message, counted) in [
            ("query", &counts.queries),
            ("report", &counts.reports),
            ("leave", &counts.leaves),
        ] {
            let labels = [name, &protocol, &label(message)];
            told.whole(Metric::NetworkMulticast, &labels, counted[dialect.index()]);
        }
    }
    for (event, count) in [
        ("invalid", counts.invalid),
        ("full", counts.full),
        ("query_sent", counts.queries_sent),
    ] {
        told.whole(
            Metric::NetworkMulticastEvents,
            &[name, &label(event)],
            count,
        );
    }
}

fn names(told: &mut Exposition, name: &Label, network: &MeteredNetwork) {
    let edge = &network.edge;
    for (outcome, count) in &edge.outcomes {
        told.whole(Metric::DnsQueries, &[name, &label(outcome)], *count);
    }
    for (outcome, count) in &edge.dhcp {
        told.whole(Metric::DhcpMessages, &[name, &label(outcome)], *count);
    }
    told.whole(Metric::DnsFailures, &[name], edge.failed);
    told.whole(Metric::DnsCrowdedOut, &[name], edge.crowded_out);
    told.spread(Metric::DnsForward, &[name], edge.forwarding.clone());
}

fn tunnel(told: &mut Exposition, name: &Label, port: &MeteredPort) {
    let remote = label(&port.owner);
    let (rx, tx) = (port.counts.rx_bytes, port.counts.tx_bytes);
    told.whole(Metric::TunnelReceiveBytes, &[name, &remote], rx);
    told.whole(Metric::TunnelTransmitBytes, &[name, &remote], tx);
}

fn port(told: &mut Exposition, reasons: &mut Reasons, name: &Label, port: &MeteredPort) {
    let (kind, owner) = (label(port.kind.name()), label(&port.owner));
    let labels = [name, &kind, &owner];
    let counts = &port.counts;
    told.whole(Metric::PortUp, &labels, u64::from(port.is_up));
    for (metric, count) in [
        (Metric::PortReceiveFrames, counts.rx_frames),
        (Metric::PortReceiveBytes, counts.rx_bytes),
        (Metric::PortTransmitFrames, counts.tx_frames),
        (Metric::PortTransmitBytes, counts.tx_bytes),
    ] {
        told.whole(metric, &labels, count);
    }
    for (reason, count) in counts.drop_reasons() {
        let reason = reasons.of(reason.name());
        told.whole(Metric::PortDrops, &[name, &kind, &owner, reason], count);
    }
    if let Some(station) = &port.station {
        container(told, (name, &owner), station, counts);
    }
}

/// In cAdvisor's words: the container's side.
fn container(
    told: &mut Exposition,
    (network, name): (&Label, &Label),
    station: &Station,
    counts: &PortCounts,
) {
    let (id, interface) = (label(&station.container), label(&station.link));
    let labels = [&id, name, &interface, network];
    let sum = |is_such: fn(DropReason) -> bool| {
        let drops = counts.drop_reasons().filter(|(reason, _)| is_such(*reason));
        drops.map(|(_, count)| count).sum()
    };
    let missed = sum(|reason| reason.is_at_egress() && reason != DropReason::EgressRefused);
    let lost = sum(|reason| !reason.is_at_egress() && !reason.is_malformed());
    for (metric, count) in [
        (Metric::ContainerReceiveBytes, counts.tx_bytes),
        (Metric::ContainerReceivePackets, counts.tx_frames),
        (Metric::ContainerReceiveDropped, missed),
        (
            Metric::ContainerReceiveErrors,
            counts.dropped(DropReason::EgressRefused),
        ),
        (Metric::ContainerTransmitBytes, counts.rx_bytes),
        (Metric::ContainerTransmitPackets, counts.rx_frames),
        (Metric::ContainerTransmitDropped, lost),
        (
            Metric::ContainerTransmitErrors,
            sum(DropReason::is_malformed),
        ),
    ] {
        told.whole(metric, &labels, count);
    }
}
