//! Two hosts with a network between them, and an agent of either that dies.

use std::time::Duration;

use super::figures::Row;
use super::load::{Load, Place};
use super::outage::Outage;
use super::scaled;
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
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let ends = [(one, "a"), (two, "b")]
        .map(|(host, name)| Place::new(&host.sandbox(name), host.ipv4(name)));
    let (kills, flows) = (scaled(20, 2), scaled(100, 20));
    let mut row = Row::new(
        place,
        format_args!("kill -9 of the agent of either host x{kills}, {encap}, {flows} flows"),
        "1 s; all flows; 0 flaps",
        "100 ms",
    );
    let load = Load::start([&ends[0], &ends[1]], flows);
    let cost = load.through(kills, |number| {
        let host: &Host = [one, two][number % 2];
        Outage::Kill.strike(host);
    });
    cost.tell(
        &mut row,
        scaled(Duration::from_secs(1), Duration::from_secs(8)),
    );
    cost.hold_links(&mut row);
    row.finish();
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

const PATIENCE: Duration = Duration::from_secs(20);
