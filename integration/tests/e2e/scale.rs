//! More endpoints than a kernel bridge has ports.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::time::{Duration, Instant};

use agent_api::NetworkSummary;
use serde_json::json;
use switch_io::packet::PacketSocket;

use crate::harness::{Endpoint, Host, Netns, eventually};
use crate::packets::{PLAIN, contains, ethernet, receive};

const ENDPOINTS: usize = 1100;
const SAMPLE: usize = 100;
const NETWORKS: usize = 130;
const SCRAPES: usize = 5;
const ACTORS: usize = 8;

/// A kernel bridge stops at 1,023.
#[test]
fn eleven_hundred_endpoints_are_reachable_and_the_last_attach_as_fast_as_the_first() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.66.0.0/16", "wide"])
        .ok();
    let attach = |number: usize| {
        let netns = quiet_namespace();
        let start = Instant::now();
        let endpoint = host.endpoint_in("wide", &format!("e{number}"), netns);
        (endpoint, start.elapsed())
    };
    let one_by_one = |numbers: Range<usize>| {
        let before = host.agent_processor_time();
        let (endpoints, took): (Vec<_>, Vec<_>) = numbers.map(attach).unzip();
        (
            endpoints,
            median(&took),
            host.agent_processor_time() - before,
        )
    };
    let (mut endpoints, took_first, worked_first) = one_by_one(0..SAMPLE);
    endpoints.extend(at_once(SAMPLE..ENDPOINTS - SAMPLE, |number| {
        attach(number).0
    }));
    let (last, took_last, worked_last) = one_by_one(ENDPOINTS - SAMPLE..ENDPOINTS);
    endpoints.extend(last);
    assert_eq!(host.network("wide").endpoints.len(), ENDPOINTS);

    println!("attach: first {SAMPLE} {took_first:?}, last {SAMPLE} {took_last:?}");
    // Elapsed time is the machine's as much as the agent's; what the agent works is its own.
    println!("the agent's work: first {SAMPLE} {worked_first:?}, last {SAMPLE} {worked_last:?}");
    assert!(
        worked_last <= worked_first * 2,
        "the work of attaching grew from {worked_first:?} to {worked_last:?}"
    );

    scrape(&host);
    let (probe, others) = endpoints.split_first().unwrap();
    let unreachable = unreachable(probe, others);
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

/// Done by several, as nobody measures it. The outcomes are in the order of `all`.
fn at_once<T: Send, U: Send>(
    all: impl IntoIterator<Item = T>,
    act: impl Fn(T) -> U + Sync,
) -> Vec<U> {
    let mut shares: Vec<Vec<(usize, T)>> = (0..ACTORS).map(|_| Vec::new()).collect();
    for (number, one) in all.into_iter().enumerate() {
        shares[number % ACTORS].push((number, one));
    }
    let act = &act;
    let mut done: Vec<(usize, U)> = std::thread::scope(|scope| {
        let actors = shares.into_iter().map(|share| {
            scope.spawn(move || {
                let done = share.into_iter().map(|(number, one)| (number, act(one)));
                done.collect::<Vec<_>>()
            })
        });
        let actors: Vec<_> = actors.collect();
        let done = actors.into_iter().flat_map(|actor| actor.join().unwrap());
        done.collect()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, outcome)| outcome).collect()
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
/// The names of those that no frame goes to, or comes from. The kernel takes long to open and close packet sockets, so that many are at once.
fn unreachable<'e>(probe: &Endpoint<'_>, others: &'e [Endpoint<'_>]) -> Vec<&'e str> {
    let near = probe.wire();
    let mut names = Vec::new();
    for some in others.chunks(SAMPLE) {
        let far = at_once(0..some.len(), |number| some[number].wire());
        let pairs = some.iter().zip(&far);
        let lost = pairs.filter(|(other, far)| !frames_pass((probe, &near), (other, far)));
        names.extend(lost.map(|(other, _)| &*other.detail.name));
        at_once(far, drop);
    }
    names
}

fn frames_pass(
    (one, near): (&Endpoint<'_>, &PacketSocket),
    (other, far): (&Endpoint<'_>, &PacketSocket),
) -> bool {
    let there = ethernet(other.mac(), one.mac(), 0x88b5, b"there");
    let back = ethernet(one.mac(), other.mac(), 0x88b5, b"and back");
    near.send(&PLAIN, &there).unwrap();
    let arrived = receive(far, |frame| contains(frame, b"there")).is_some();
    far.send(&PLAIN, &back).unwrap();
    arrived && receive(near, |frame| contains(frame, b"and back")).is_some()
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
