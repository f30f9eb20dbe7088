//! A change on one host, until the other hosts' name servers answer by it.

use std::thread;
use std::time::{Duration, Instant};

use super::{Container, HOSTS, Network, cluster};
use crate::asker::Asker;
use crate::interrupt::check;
use crate::lab::{Lab, Topology};
use crate::row::{Effort, Metric, Row};
use crate::statistics::{percentile, sorted};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Resolvable;

impl Row for Resolvable {
    fn name(&self) -> String {
        "cluster-names".to_owned()
    }

    fn what(&self) -> String {
        format!(
            "a container's alias changed on each of {HOSTS} hosts in turn: from the request to the answer of each other \
             host's name server, which is asked every {} ms",
            EVERY.as_millis()
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("p50", "ms"),
                Metric::lower("p99", "ms"),
                Metric::lower("max", "ms"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::cluster(HOSTS)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let cluster = cluster(lab)?;
        let network = Network::create(cluster, cluster.founder(), 1)?;
        let containers = network.populate()?;
        let mut times = Vec::new();
        for round in 0..effort.attaches {
            check()?;
            let changed = round % containers.len();
            times.extend(spread(&containers, changed, &format!("a{round}"), EVERY)?);
        }
        drop(containers);
        Ok(figures(&times))
    }
}

/// Milliseconds until each other host's name server knows the new alias of one container.
pub(super) fn spread(
    containers: &[Container<'_>],
    changed: usize,
    alias: &str,
    every: Duration,
) -> Result<Vec<f64>, Trouble> {
    let askers = containers
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != changed)
        .map(|(_, asks)| Asker::new(&asks.netns, asks.name_server()?, alias))
        .collect::<Result<Vec<_>, _>>()?;
    thread::scope(|scope| {
        let asking: Vec<_> = askers
            .iter()
            .map(|asker| scope.spawn(|| asker.first_answer(every, PATIENCE)))
            .collect();
        let start = Instant::now();
        containers[changed].rename(alias)?;
        asking
            .into_iter()
            .map(|asking| {
                let answered = asking
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                Ok(answered.saturating_duration_since(start).as_secs_f64() * 1e3)
            })
            .collect()
    })
}

/// In the order of the row's metrics.
pub(super) fn figures(times: &[f64]) -> Vec<f64> {
    let times = sorted(times);
    let at = |percent| percentile(&times, percent).unwrap_or(f64::NAN);
    vec![at(50.0), at(99.0), at(100.0)]
}

/// Between two questions of one asker.
const EVERY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(10);
