//! This host's cluster, as it is seen from here: the store, managers, tunnels, hosts, certificates, and what is not as it should be
//! with the cluster's networks.

mod certificate;
mod hosts;
mod networks;
mod store;

use std::time::Duration;

use agent_api::{Client, ClusterDetail, ClusterHealth};

use super::check::Check;
use crate::output::now_s;

/// Nothing where there is no cluster, nor anything left of one, or no agent that could say so.
pub(crate) async fn checks(client: &Client) -> Vec<Check> {
    let asked = tokio::time::timeout(PATIENCE, async {
        tokio::join!(client.cluster(), client.cluster_health())
    });
    let Ok((cluster, health)) = asked.await else {
        return vec![Check::fail(
            "cluster",
            "the agent does not say how it stands with it",
            "look at its log",
        )];
    };
    // An older agent knows nothing of its health.
    let health = health.unwrap_or_default();
    let of_cluster = cluster.map(|cluster| of_cluster(&cluster, &health, now_s()));
    let mut checks = of_cluster.unwrap_or_default();
    checks.extend(networks::checks(&health));
    checks
}

fn of_cluster(cluster: &ClusterDetail, health: &ClusterHealth, now_s: u64) -> Vec<Check> {
    let mut checks = vec![store::step(cluster)];
    checks.extend(store::double(cluster));
    checks.extend(store::managers(&health.managers));
    checks.push(store::number(&cluster.managers));
    checks.extend(store::clocks(&health.managers));
    checks.extend(hosts::tunnels(cluster));
    checks.extend(hosts::away(cluster));
    checks.extend(certificate::checks(cluster, now_s));
    checks
}

/// The checks of the first `LINES_MAX` of many, and how many more there are.
fn some<T>(
    what: &str,
    all: impl ExactSizeIterator<Item = T>,
    check: impl Fn(T) -> Check,
) -> Vec<Check> {
    let more = all.len().saturating_sub(LINES_MAX);
    let mut checks: Vec<_> = all.take(LINES_MAX).map(check).collect();
    if more > 0 {
        let found = format!("so it is with {more} more");
        checks.push(Check::warn(what, found, "see: tapestry cluster ls --json"));
    }
    checks
}

/// The managers have a second and a half to answer.
const PATIENCE: Duration = Duration::from_secs(4);
const LINES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_some_are_told_and_the_rest_is_counted() {
        let told = |count: usize| {
            let numbers = (0..count).collect::<Vec<_>>().into_iter();
            let checks = some("host", numbers, |n| Check::ok("host", n.to_string()));
            checks.iter().map(Check::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(LINES_MAX).len(), LINES_MAX);
        let many = told(500);
        assert_eq!(many.len(), LINES_MAX + 1);
        assert!(many[LINES_MAX].contains("484 more"), "{many:?}");
    }
}
