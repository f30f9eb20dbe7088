//! Many networks, made and removed again and again: the last costs what the first did, and nothing piles up.

use std::fs;
use std::time::{Duration, Instant};

use agent_api::EndpointDetail;
use serde_json::json;

use super::figures::Row;
use super::gaps::percentile;
use super::many::{create_network, quiet};
use super::scaled;
use super::tally::Tally;
use crate::harness::{Host, Netns};

#[test]
fn networks_made_and_removed_again_and_again_leave_nothing() {
    let host = Host::start();
    let sandboxes = [quiet(), quiet()];
    let count = scaled(1000, 30);
    let mut row = Row::new(
        14,
        format_args!("{count} networks x 2 endpoints, made and removed x{ROUNDS}"),
        "linear; memory and fds back to start",
        "",
    );
    // What is made once for good, as threads that wait for work, is there from then on.
    round(&host, &sandboxes, 10);
    let before = Tally::of(&host);
    let (mut memory, mut growth) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let times = round(&host, &sandboxes, count);
        growth.push(ratio(&times));
        memory.push(resident_kib(&host));
    }
    let shown: Vec<_> = growth.iter().map(|ratio| format!("{ratio:.1}")).collect();
    row.figure(format_args!(
        "last tenth takes {} times the first",
        shown.join(" / ")
    ));
    let middle = growth.iter().copied().fold(f64::INFINITY, f64::min);
    row.hold(
        middle <= scaled(2.0, 4.0),
        format_args!("the last network takes {middle:.1} times the first"),
    );
    row.figure(format_args!("{} KiB after each round", join(&memory)));
    row.hold(
        memory[ROUNDS - 1] <= memory[0] + memory[0] / 10,
        format_args!("memory grows from round to round: {}", join(&memory)),
    );
    let left = before.lasting_differences(&host);
    row.none("differences left", left.len(), &left);
    row.finish();
}

/// Makes `count` networks with an endpoint in each of the sandboxes, and removes them. How long each took to make.
fn round(host: &Host, sandboxes: &[Netns; 2], count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut endpoints = Vec::new();
    for number in 0..count {
        let start = Instant::now();
        let name = format!("n{number}");
        create_network(
            host,
            &name,
            &format!("10.{}.{}.0/24", 64 + number / 250, number % 250),
        );
        for sandbox in sandboxes {
            let create = json!({
                "network": name, "name": sandbox.name(), "sandbox": sandbox.path(), "link": format!("e{number}"),
            });
            let detail: EndpointDetail = host.api("POST", "/v1/endpoints", Some(&create)).ok();
            endpoints.push(detail.id);
        }
        times.push(start.elapsed());
    }
    for id in endpoints {
        gone(host, &format!("/v1/endpoints/{id}"));
    }
    for number in 0..count {
        gone(host, &format!("/v1/networks/n{number}"));
    }
    times
}

#[track_caller]
fn gone(host: &Host, path: &str) {
    let reply = host.api("DELETE", path, None);
    assert!(reply.status < 300, "{path}: {reply:?}");
}

/// The median of the last tenth by that of the first.
fn ratio(times: &[Duration]) -> f64 {
    let tenth = (times.len() / 10).max(3);
    let [first, last] = [&times[..tenth], &times[times.len() - tenth..]];
    percentile(last, 50).as_secs_f64() / percentile(first, 50).as_secs_f64()
}

fn resident_kib(host: &Host) -> u64 {
    let pid = host.agent_pid();
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = resident.and_then(|line| line.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

fn join(values: &[u64]) -> String {
    let values: Vec<_> = values.iter().map(u64::to_string).collect();
    values.join(" / ")
}

const ROUNDS: usize = 3;
