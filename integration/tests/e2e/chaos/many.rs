//! Hosts with much on them: a thousand endpoints, or two hundred networks.

use std::fs;
use std::time::Duration;

use serde_json::json;

use super::figures::Row;
use super::load::Load;
use super::one_host::at;
use super::outage::Outage;
use super::scaled;
use crate::harness::{Endpoint, Host, Netns};

#[test]
fn a_killed_agent_with_many_endpoints_costs_no_flow() {
    let host = Host::start();
    create_network(&host, "wide", "10.66.0.0/16");
    let count = scaled(1000, 40);
    let crowd: Vec<_> = (2..count)
        .map(|number| host.endpoint_in("wide", &format!("e{number}"), quiet()))
        .collect();
    let pair = ["one", "two"].map(|name| host.endpoint("wide", name));
    kills_cost(&host, &pair, 7, &format!("with {count} endpoints"));
    drop(crowd);
}

#[test]
fn a_killed_agent_with_many_networks_costs_no_flow() {
    let host = Host::start();
    let count = scaled(200, 20);
    for number in 0..count {
        create_network(
            &host,
            &format!("n{number}"),
            &format!("10.67.{number}.0/24"),
        );
    }
    let pair = ["one", "two"].map(|name| host.endpoint("n0", name));
    kills_cost(&host, &pair, 8, &format!("with {count} networks"));
    drop(pair);
    for number in 0..count {
        host.api("DELETE", &format!("/v1/networks/n{number}"), None);
    }
}

fn kills_cost(host: &Host, [one, two]: &[Endpoint<'_>; 2], place: u8, with: &str) {
    let (kills, flows) = (scaled(5, 1), scaled(100, 10));
    let mut row = Row::new(
        place,
        format_args!("kill -9 of the agent x{kills}, {with}"),
        "1 s; all flows; 0 flaps",
        "100 ms",
    );
    let mut answered = Vec::new();
    let load = Load::start([&at(one), &at(two)], flows);
    let cost = load.through(kills, |_| answered.push(Outage::Kill.strike(host)));
    cost.tell(
        &mut row,
        scaled(Duration::from_secs(1), Duration::from_secs(5)),
    );
    cost.hold_links(&mut row);
    row.times("API away", &answered, Duration::MAX);
    row.finish();
}

/// Through the API, without a process for it.
#[track_caller]
pub(super) fn create_network(host: &Host, name: &str, subnet: &str) {
    let create = json!({ "name": name, "subnets": [subnet] });
    let _: serde_json::Value = host.api("POST", "/v1/networks", Some(&create)).ok();
}

/// A namespace without IPv6: what a thousand kernels announce of their new links would go a thousand ways, and be what is
/// measured.
pub(super) fn quiet() -> Netns {
    let netns = Netns::new("e");
    netns.enter(|| {
        for scope in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1").unwrap();
        }
    });
    netns
}
