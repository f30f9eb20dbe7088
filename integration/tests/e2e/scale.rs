//! More endpoints than a kernel bridge has ports.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use agent_api::NetworkSummary;
use serde_json::json;

use crate::harness::{Endpoint, Host, Netns, eventually};
use crate::packets::{PLAIN, contains, ethernet, receive};

const ENDPOINTS: usize = 1100;
const SAMPLE: usize = 100;
const NETWORKS: usize = 130;
const SCRAPES: usize = 5;

/// A kernel bridge stops at 1,023.
#[test]
fn eleven_hundred_endpoints_are_reachable_and_the_last_attach_as_fast_as_the_first() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.66.0.0/16", "wide"])
        .ok();
    let mut endpoints = Vec::with_capacity(ENDPOINTS);
    let mut attach_times = Vec::with_capacity(ENDPOINTS);
    let mut worked = Vec::with_capacity(ENDPOINTS + 1);
    worked.push(host.agent_processor_time());
    for number in 0..ENDPOINTS {
        let netns = quiet_namespace();
        let start = Instant::now();
        endpoints.push(host.endpoint_in("wide", &format!("e{number}"), netns));
        attach_times.push(start.elapsed());
        worked.push(host.agent_processor_time());
    }
    assert_eq!(host.network("wide").endpoints.len(), ENDPOINTS);

    let (first, last) = (
        median(&attach_times[..SAMPLE]),
        median(&attach_times[ENDPOINTS - SAMPLE..]),
    );
    println!("attach: first {SAMPLE} {first:?}, last {SAMPLE} {last:?}");
    // Elapsed time is the machine's as much as the agent's; what the agent works is its own.
    let (first, last) = (
        worked[SAMPLE] - worked[0],
        worked[ENDPOINTS] - worked[ENDPOINTS - SAMPLE],
    );
    println!("the agent's work: first {SAMPLE} {first:?}, last {SAMPLE} {last:?}");
    assert!(
        last <= first * 2,
        "the work of attaching grew from {first:?} to {last:?}"
    );

    scrape(&host);
    let (probe, others) = endpoints.split_first().unwrap();
    let unreachable: Vec<_> = others
        .iter()
        .filter(|other| !frames_pass(probe, other))
        .map(|other| &other.detail.name)
        .collect();
    assert!(
        unreachable.is_empty(),
        "{} of {ENDPOINTS}: {unreachable:?}",
        unreachable.len()
    );
    for other in others.iter().step_by(97) {
        assert!(probe.netns.pings(other.ipv4()), "{}", other.detail.name);
    }
    assert!(probe.netns.pings("10.66.0.1"), "the gateway");
}

/// Each endpoint is in what Prometheus reads, for less work than it took to attach a few.
fn scrape(host: &Host) {
    let before = host.agent_processor_time();
    let (mut took, mut told) = (Vec::new(), String::new());
    for _ in 0..SCRAPES {
        let start = Instant::now();
        let socket = host.socket();
        told = host.netns.sh(&format!(
            "curl -s --unix-socket {} http://agent/metrics",
            socket.display()
        ));
        took.push(start.elapsed());
    }
    let worked = host.agent_processor_time() - before;
    println!("scrapes of {ENDPOINTS} endpoints: {took:?}, the agent's work {worked:?}");
    let received = told
        .matches("\ncontainer_network_receive_bytes_total{")
        .count();
    assert_eq!(received, ENDPOINTS);
}

/// What all networks before cost again with each, as a table that is made anew would, shows in the agent's work and in that of
/// the programs that it starts.
#[test]
fn the_hundredth_network_costs_what_the_first_did_to_make_and_to_remove() {
    let host = Host::start();
    let mut worked = vec![host.agent_work()];
    for number in 0..NETWORKS {
        let subnet = format!("10.66.{number}.0/24");
        let create = json!({ "name": format!("n{number}"), "subnets": [subnet] });
        let _: NetworkSummary = host.api("POST", "/v1/networks", Some(&create)).ok();
        worked.push(host.agent_work());
    }
    // The first few also cost what is made once for good.
    hold(
        "making",
        worked[30] - worked[5],
        worked[NETWORKS] - worked[NETWORKS - 25],
    );
    let mut worked = vec![host.agent_work()];
    for number in 0..NETWORKS {
        let removed = host.api("DELETE", &format!("/v1/networks/n{number}"), None);
        assert!(removed.status < 300, "{removed:?}");
        worked.push(host.agent_work());
    }
    hold(
        "removing",
        worked[NETWORKS] - worked[NETWORKS - 25],
        worked[25] - worked[0],
    );
}

#[track_caller]
fn hold(what: &str, among_few: Duration, among_many: Duration) {
    println!("work of {what} 25 networks: among few {among_few:?}, among many {among_many:?}");
    assert!(
        among_many <= among_few * 2,
        "{what} 25 networks among many costs {among_many:?}, and {among_few:?} among few"
    );
}

/// The kernel takes tens of milliseconds to remove a link. Nobody waits for all of them.
#[test]
fn requests_are_answered_while_a_hundred_vanished_sandboxes_are_cleared_away() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.66.0.0/16", "wide"])
        .ok();
    let endpoints: Vec<_> = (0..100)
        .map(|number| host.endpoint_in("wide", &format!("e{number}"), quiet_namespace()))
        .collect();
    let mut deletions = String::new();
    for endpoint in endpoints {
        writeln!(deletions, "netns del {}", endpoint.netns.name()).unwrap();
        // Nobody is to tell the agent.
        std::mem::forget(endpoint);
    }
    let mut seen = BTreeSet::new();
    // Watched meanwhile: on a busy machine the agent may begin before the last is gone, and be done as soon.
    std::thread::scope(|scope| {
        scope.spawn(|| host.netns.sh(&format!("ip -batch - <<.\n{deletions}.")));
        eventually(Duration::from_secs(60), "all endpoints are gone", || {
            let left = host.network("wide").endpoints.len();
            seen.insert(left);
            (left == 0).then_some(())
        });
    });
    assert!(
        seen.iter().any(|left| (1..100).contains(left)),
        "only {seen:?} were seen"
    );
}

/// Unicast both ways, past the stacks of the namespaces: their neighbour tables together hold 1,024 entries.
fn frames_pass(one: &Endpoint<'_>, other: &Endpoint<'_>) -> bool {
    let (near, far) = (one.wire(), other.wire());
    let there = ethernet(other.mac(), one.mac(), 0x88b5, b"there");
    let back = ethernet(one.mac(), other.mac(), 0x88b5, b"and back");
    near.send(&PLAIN, &there).unwrap();
    let arrived = receive(&far, |frame| contains(frame, b"there")).is_some();
    far.send(&PLAIN, &back).unwrap();
    arrived && receive(&near, |frame| contains(frame, b"and back")).is_some()
}

/// Without IPv6: what 1,100 kernels announce about their new links would go 1,100 ways, and be what is measured.
fn quiet_namespace() -> Netns {
    let netns = Netns::new("e");
    netns.enter(|| {
        for scope in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1").unwrap();
        }
    });
    netns
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}
