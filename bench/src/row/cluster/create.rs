//! Making a network of all hosts, and removing it: what it costs the store, and how soon all hosts have it.

use std::time::{Duration, Instant};

use super::{HOSTS, Network, cluster};
use crate::contender::Cluster;
use crate::interrupt::pause;
use crate::lab::{Lab, Topology};
use crate::row::{Effort, Metric, Row};
use crate::statistics::count_f64;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Create;

impl Row for Create {
    fn name(&self) -> String {
        "cluster-create".to_owned()
    }

    fn what(&self) -> String {
        format!(
            "a network made on one of {HOSTS} hosts, and removed: transactions of etcd until nothing happens any more, and \
             time until every host has it"
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("transactions", ""),
                Metric::lower("removal", "transactions"),
                Metric::lower("known", "ms"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::cluster(HOSTS)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn rounds_max(&self) -> usize {
        3
    }

    fn run(&self, lab: &mut Lab, _: &Effort) -> Result<Vec<f64>, Trouble> {
        let cluster = cluster(lab)?;
        let before = at_rest(cluster)?;
        let start = Instant::now();
        // A member, who asks through a manager.
        let network = Network::create(cluster, &cluster.hosts()[HOSTS / 2], 1)?;
        let known_ms = start.elapsed().as_secs_f64() * 1e3;
        let made = at_rest(cluster)?;
        drop(network);
        let removed = at_rest(cluster)?;
        Ok(vec![
            count_f64(made - before),
            count_f64(removed - made),
            known_ms,
        ])
    }
}

/// How many transactions there were when none came for a while.
fn at_rest(cluster: &Cluster) -> Result<u64, Trouble> {
    let end = Instant::now() + PATIENCE;
    let mut last = cluster.transactions()?;
    while Instant::now() < end {
        pause(REST)?;
        let now = cluster.transactions()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    Err(Trouble::Late {
        what: "the store is at rest".to_owned(),
        limit: PATIENCE,
    })
}

/// Longer than the time between two looks of a host after its blocks of addresses.
const REST: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(30);
