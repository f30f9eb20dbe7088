//! One host, two sandboxes on one network, and an agent that dies.

use std::time::Duration;

use super::figures::Row;
use super::load::{Load, Place};
use super::outage::Outage;
use super::scaled;
use super::tally::Tally;
use super::torrent::Torrent;
use crate::harness::{Endpoint, Host};

/// Kills, stops and kills of everything, under load.
fn outages_cost(place: u8, outage: Outage, what: &str, count: usize, limit: Duration) {
    let host = Host::start();
    let [one, two] = ["one", "two"].map(|name| host.endpoint("bridge", name));
    let before = Tally::of(&host);
    let flows = scaled(100, 20);
    let mut row = Row::new(
        place,
        format_args!("{what} x{count} under 1,000 packets/s and {flows} flows, one host"),
        "p95 300 ms; all flows; 0 flaps; nothing left",
        "30 ms",
    );
    let load = Load::start([&at(&one), &at(&two)], flows);
    let mut answered = Vec::new();
    let cost = load.through(count, |_| answered.push(outage.strike(&host)));
    cost.tell(&mut row, limit);
    if outage == Outage::Kill {
        cost.hold_links(&mut row);
    }
    row.times("API away", &answered, Duration::MAX);
    let left = before.lasting_differences(&host);
    row.none("differences left", left.len(), &left);
    row.finish();
}

#[test]
fn a_killed_agent_costs_no_flow_and_no_link() {
    outages_cost(
        1,
        Outage::Kill,
        "kill -9 of the agent",
        scaled(20, 3),
        scaled(MUST, SHORT),
    );
}

#[test]
fn an_agent_stopped_and_started_costs_no_flow_and_no_link() {
    outages_cost(2, Outage::Stop, "SIGTERM and start", scaled(10, 2), SHORT);
}

#[test]
fn everything_killed_and_started_costs_no_flow() {
    outages_cost(
        3,
        Outage::KillAll,
        "kill -9 of everything and start",
        scaled(10, 2),
        SHORT * 2,
    );
}

#[test]
fn a_planned_upgrade_loses_nothing() {
    let host = Host::start();
    let [one, two] = ["one", "two"].map(|name| host.endpoint("bridge", name));
    let (count, flows) = (scaled(5, 2), scaled(100, 20));
    let mut row = Row::new(
        17,
        format_args!("planned upgrade x{count} under 1,000 packets/s and {flows} flows, one host"),
        "0 lost; 20 ms; all flows; 0 flaps",
        "0; 0",
    );
    let load = Load::start([&at(&one), &at(&two)], flows);
    let between = scaled(12_000, 500);
    let cost = load.through_with(between, count, |_| {
        Outage::Upgrade.strike(&host);
    });
    cost.tell(&mut row, scaled(Duration::from_millis(20), SHORT));
    cost.hold_all(&mut row);
    cost.hold_links(&mut row);
    row.finish();
}

#[test]
fn a_planned_upgrade_leaves_a_flow_its_throughput() {
    let host = Host::start();
    let [one, two] = ["one", "two"].map(|name| host.endpoint("bridge", name));
    let count = scaled(10, 2);
    let mut row = Row::new(
        21,
        format_args!("TCP x1 in the second of a planned upgrade ÷ in the one before, x{count}"),
        "0.9",
        "0.99",
    );
    let torrent = Torrent::start([&at(&one), &at(&two)]);
    torrent.rate();
    let mut shares: Vec<f64> = (0..count)
        .map(|_| {
            let before = torrent.rate();
            let during = std::thread::scope(|scope| {
                scope.spawn(|| Outage::Upgrade.strike(&host));
                torrent.rate()
            });
            during / before
        })
        .collect();
    torrent.end();
    shares.sort_by(f64::total_cmp);
    let (least, half, most) = (shares[0], shares[count / 2], shares[count - 1]);
    row.figure(format_args!("p50 {half:.2} of it, {least:.2} .. {most:.2}"));
    row.hold(
        half >= scaled(0.9, 0.2),
        format_args!("{half:.2} of the throughput"),
    );
    row.finish();
}

pub(super) fn at(endpoint: &Endpoint<'_>) -> Place {
    Place::new(&endpoint.netns.path(), endpoint.ipv4())
}

const MUST: Duration = Duration::from_millis(300);
/// On a machine that is busy with other tests.
const SHORT: Duration = Duration::from_secs(4);
