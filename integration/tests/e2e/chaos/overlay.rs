//! Two hosts with a network between them, and an agent of either that dies.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::figures::Row;
use super::load::{Cost, Load, Place};
use super::outage::Outage;
use super::scaled;
use super::stream::ENOUGH;
use crate::cluster::{Underlay, cluster, create_shared_on};
use crate::harness::{Host, eventually};

#[test]
fn a_killed_agent_of_either_host_costs_no_flow_over_quic() {
    kills_cost(9, "QUIC", &[]);
}

#[test]
fn a_killed_agent_of_either_host_costs_no_flow_over_vxlan() {
    kills_cost(10, "VXLAN", &["-o", "encap=vxlan"]);
}

fn kills_cost(place: u8, encap: &str, options: &[&str]) {
    let lab = pair(options);
    let (kills, flows) = (scaled(20, 2), scaled(100, 20));
    let mut row = Row::new(
        place,
        format_args!("kill -9 of the agent of either host x{kills}, {encap}, {flows} flows"),
        "1 s; all flows; 0 flaps",
        "100 ms",
    );
    let cost = outages(&lab, Outage::Kill, (kills, ENOUGH), flows);
    cost.tell(&mut row, scaled(Duration::from_secs(1), SHORT));
    cost.hold_links(&mut row);
    row.finish();
}

#[test]
fn a_planned_upgrade_of_either_host_loses_nothing_over_quic() {
    upgrades_cost(18, "QUIC", &[]);
}

#[test]
fn a_planned_upgrade_of_either_host_loses_nothing_over_vxlan() {
    upgrades_cost(19, "VXLAN", &["-o", "encap=vxlan"]);
}

fn upgrades_cost(place: u8, encap: &str, options: &[&str]) {
    let lab = pair(options);
    let (count, flows) = (scaled(5, 2), scaled(100, 20));
    let mut row = Row::new(
        place,
        format_args!(
            "planned upgrade of either host x{count} under 1,000 packets/s and {flows} flows, {encap}"
        ),
        "0 lost; 20 ms; all flows; 0 flaps",
        "0; 0",
    );
    let between = scaled(12_000, 500);
    let cost = outages(&lab, Outage::Upgrade, (count, between), flows);
    cost.tell(&mut row, scaled(Duration::from_millis(20), SHORT));
    cost.hold_all(&mut row);
    cost.hold_links(&mut row);
    row.finish();
}

/// Nobody's new agent finds the other's old one for long.
#[test]
fn planned_upgrades_of_both_hosts_at_once_end_with_tunnels() {
    let lab = pair(&[]);
    let ends = ends(&lab);
    let (count, flows) = (scaled(5, 2), scaled(100, 20));
    let mut row = Row::new(
        20,
        format_args!("planned upgrade of both hosts at once x{count}, QUIC, {flows} flows"),
        "1 s; all flows; 0 flaps",
        "0; 0",
    );
    let load = Load::start([&ends[0], &ends[1]], flows);
    let cost = load.through(count, |_| {
        std::thread::scope(|scope| {
            for host in &lab.hosts {
                scope.spawn(|| Outage::Upgrade.strike(host));
            }
        });
    });
    cost.tell(&mut row, scaled(Duration::from_secs(1), SHORT));
    cost.hold_links(&mut row);
    row.finish();
}

/// At any moment of its start; nearly always the old one goes on.
#[test]
fn a_new_agent_that_is_killed_costs_no_flow() {
    let lab = pair(&[]);
    let ends = ends(&lab);
    let (count, flows) = (scaled(20, 4), scaled(100, 20));
    let mut row = Row::new(
        22,
        format_args!("kill -9 of an agent that is to take over x{count}, QUIC, {flows} flows"),
        "1 s; all flows; 0 flaps",
        "0; 0",
    );
    let load = Load::start([&ends[0], &ends[1]], flows);
    let mut stayed = 0;
    let cost = load.through(count, |number| {
        let host = &lab.hosts[number % 2];
        let old = host.agent_pid();
        std::thread::scope(|scope| {
            let told = scope.spawn(|| host.tapestry(&["agent", "--replace"]));
            let new = eventually(PATIENCE, "another agent is there", || {
                children_of(host.guardian_pid()).find(|pid| *pid != old)
            });
            let rounds = u32::try_from(number / 2).unwrap();
            std::thread::sleep(DELAY * rounds);
            // It may have failed by itself, or be the only one by now.
            let _ = kill_process(new, Signal::KILL);
            told.join().unwrap();
        });
        stayed += usize::from(host.agent_pid() == old);
    });
    row.figure(format_args!("the old one went on {stayed} times"));
    cost.tell(&mut row, scaled(Duration::from_secs(1), SHORT));
    cost.hold_links(&mut row);
    row.hold(stayed > 0, "no new agent was killed in time");
    row.finish();
}

fn children_of(parent: Pid) -> impl Iterator<Item = Pid> {
    let parent = parent.as_raw_nonzero();
    let listed = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let pids = listed.unwrap_or_default();
    let pids: Vec<i32> = pids
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    pids.into_iter().filter_map(Pid::from_raw)
}

/// Of one host and the other in turn, under a load from one to the other.
fn outages(lab: &Underlay, outage: Outage, (count, between): (usize, usize), flows: usize) -> Cost {
    let ends = ends(lab);
    let load = Load::start([&ends[0], &ends[1]], flows);
    load.through_with(between, count, |number| {
        let host: &Host = &lab.hosts[number % 2];
        outage.strike(host);
    })
}

/// Where `a` and `b` are.
fn ends(lab: &Underlay) -> [Place; 2] {
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    [(one, "a"), (two, "b")].map(|(host, name)| Place::new(&host.sandbox(name), host.ipv4(name)))
}

/// With a container each, `a` and `b`, which reach each other.
fn pair(options: &[&str]) -> Underlay {
    let lab = cluster(2);
    let hosts: Vec<_> = lab.hosts.iter().collect();
    let options = [&["--subnet", "10.9.0.0/24"], options].concat();
    create_shared_on(&hosts, "far", &options);
    hosts[0].idle("a", "far", &[]);
    hosts[1].idle("b", "far", &[]);
    eventually(PATIENCE, "a reaches b", || {
        (hosts[0].exec("a", "ping -n -c1 -W1 b").status == 0).then_some(())
    });
    lab
}

/// By so much later each is killed.
const DELAY: Duration = Duration::from_millis(15);
const PATIENCE: Duration = Duration::from_secs(20);
/// On a machine that is busy with other tests.
const SHORT: Duration = Duration::from_secs(8);
