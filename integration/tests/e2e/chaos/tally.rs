//! What there is on a host, in words that are the same before a fault and after it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Host;

/// The packet filter, an element of a set on each line: `nft` lists them in any order.
pub(super) const RULES: &str =
    r"nft -s list ruleset | sed -E 's/elements = \{ //; s/ \}$//; s/,$//; s/, /\n/g; s/^[ \t]+//'";

/// Links, addresses, routes, rules, namespaces, records and open files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<&'static str, Vec<String>>);

impl Tally {
    pub(super) fn of(host: &Host) -> Self {
        let shell = |script: &str| sorted(host.netns.sh(script).lines().map(str::to_owned));
        let listed = |path: &str| records(&host.api("GET", path, None).body);
        Self(BTreeMap::from([
            (
                "links",
                // A link says that it is up only after it once was not.
                shell(
                    "ip -o link show | sed -E 's/^[0-9]+: //; s/ qlen [0-9]+//; s/ state UNKNOWN/ state UP/'",
                ),
            ),
            (
                "addresses",
                shell("ip -o addr show | awk '{ print $2, $4 }'"),
            ),
            (
                "routes",
                shell("ip route show table all; ip -6 route show | sed -E 's/ expires [^ ]*//'"),
            ),
            ("rules", shell(RULES)),
            ("namespaces", own_namespaces(host)),
            ("networks", listed("/v1/networks")),
            ("endpoints", listed("/v1/endpoints")),
            ("containers", listed("/v1/containers")),
            ("open files", open_files(host)),
        ]))
    }

    /// What differs from `other`, one line each: `-` of this, `+` of the other.
    fn against(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (what, lines) in &self.0 {
            let others = &other.0[what];
            differences.extend(surplus(lines, others).map(|line| format!("- {what}: {line}")));
            differences.extend(surplus(others, lines).map(|line| format!("+ {what}: {line}")));
        }
        differences
    }

    /// What differs from this once the host has had time to come to rest.
    pub(super) fn lasting_differences(&self, host: &Host) -> Vec<String> {
        let deadline = Instant::now() + REST;
        loop {
            let differences = self.against(&Self::of(host));
            if differences.is_empty() || Instant::now() > deadline {
                return differences;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Lines of `these` that `those` have not, or not as often.
fn surplus<'l>(these: &'l [String], those: &'l [String]) -> impl Iterator<Item = &'l String> {
    let mut left: BTreeMap<&String, usize> = BTreeMap::new();
    those
        .iter()
        .for_each(|line| *left.entry(line).or_default() += 1);
    these.iter().filter(move |line| match left.get_mut(line) {
        Some(count @ 1..) => {
            *count -= 1;
            false
        }
        _ => true,
    })
}

/// Those of this test: others run beside it.
fn own_namespaces(host: &Host) -> Vec<String> {
    let own = host.netns.name().split('-').next().unwrap_or_default();
    let listed = host.netns.sh("ip netns list");
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    sorted(
        names
            .filter(|name| name.starts_with(own))
            .map(str::to_owned),
    )
}

/// Who is there, not what it counts.
fn records(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    sorted(list.map(|record| {
        [
            "id",
            "name",
            "network",
            "mac",
            "addresses",
            "subnets",
            "state",
        ]
        .map(|member| record[member].to_string())
        .join(" ")
    }))
}

/// Of the agent and of its guardian: how many of each kind.
fn open_files(host: &Host) -> Vec<String> {
    let processes = [host.agent_pid(), host.guardian_pid()];
    let mut counts = BTreeMap::<String, usize>::new();
    for (number, pid) in processes.iter().enumerate() {
        let files = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()));
        for file in files.into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(file.path()) else {
                continue;
            };
            let own = format!("/proc/{}/", pid.as_raw_nonzero());
            let target = target.display().to_string().replace(&own, "/proc/self/");
            let kind = target.split(":[").next().unwrap_or_default();
            *counts
                .entry(format!("process {number} {kind}"))
                .or_default() += 1;
        }
    }
    counts
        .into_iter()
        .map(|(kind, count)| format!("{kind} x{count}"))
        .collect()
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

const REST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(links: &[&str]) -> Tally {
        let lines = links.iter().map(|link| (*link).to_owned());
        Tally(BTreeMap::from([("links", lines.collect())]))
    }

    #[test]
    fn what_came_and_what_went_are_told_apart() {
        let (before, after) = (tally(&["lo", "up0", "tap1"]), tally(&["lo", "lo", "up0"]));
        assert_eq!(before.against(&after), ["- links: tap1", "+ links: lo"]);
        assert!(before.against(&before).is_empty());
    }
}
