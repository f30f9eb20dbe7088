//! Many changes a second, all of them written through one manager.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::names::spread;
use super::{Container, Network, cluster};
use crate::interrupt::check;
use crate::lab::{Lab, Topology};
use crate::process::used_s;
use crate::row::{Effort, Metric, Row};
use crate::statistics::{as_f64, count_f64, percentile, sorted};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Changes;

impl Row for Changes {
    fn name(&self) -> String {
        "cluster-changes".to_owned()
    }

    fn what(&self) -> String {
        format!(
            "{RATE} changes of containers' aliases a second asked of {} hosts for {} s, all written through one manager where there \
             is one: changes done a second, from a change to the answers of all other hosts' name servers meanwhile, CPU of all \
             guardians and agents for a change, and etcd's transactions for a change",
            CHANGING - 1,
            LENGTH.as_secs()
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::higher("rate", "/s"),
                Metric::lower("lag", "ms"),
                Metric::lower("lag-p50", "ms"),
                Metric::lower("cpu", "ms"),
                Metric::lower("transactions", ""),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::cluster(CHANGING)
    }

    fn rounds_max(&self) -> usize {
        2
    }

    fn run(&self, lab: &mut Lab, _: &Effort) -> Result<Vec<f64>, Trouble> {
        let cluster = cluster(lab)?;
        let network = Network::create(cluster, cluster.founder(), 1)?;
        let watched = network.populate()?;
        let mut changed = Vec::new();
        for (index, host) in cluster.hosts().iter().enumerate().skip(1) {
            for more in 0..EACH {
                changed.push(network.attach(host, &format!("m{index}-{more}"))?);
            }
        }
        let before = (
            cluster.transactions()?,
            lab.switch_times().unwrap_or_default(),
        );
        let (rate, lags) = under_load(&changed, &watched)?;
        let used = used_s(&before.1, &lab.switch_times().unwrap_or_default());
        let transactions = count_f64(cluster.transactions()? - before.0);
        drop((changed, watched));
        let lags = sorted(&lags);
        let at = |percent| percentile(&lags, percent).unwrap_or(f64::NAN);
        let changes = rate * LENGTH.as_secs_f64();
        Ok(vec![
            rate,
            at(100.0),
            at(50.0),
            used * 1e3 / changes,
            transactions / changes,
        ])
    }
}

/// Changes a second of some containers, and the lags of the changes of others meanwhile.
fn under_load(
    changed: &[Container<'_>],
    watched: &[Container<'_>],
) -> Result<(f64, Vec<f64>), Trouble> {
    let (done, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let period = Duration::from_secs_f64(as_f64(changed.len()) / as_f64(RATE));
    thread::scope(|scope| {
        let working: Vec<_> = changed
            .iter()
            .enumerate()
            .map(|(index, container)| {
                let share = as_f64(index) / as_f64(changed.len());
                let first = start + period.mul_f64(share);
                let (done, over) = (&done, &over);
                scope.spawn(move || work(container, first, period, (done, over)))
            })
            .collect();
        let lags = watch(watched, start + LENGTH);
        over.store(true, Ordering::Relaxed);
        let rate = as_f64(done.load(Ordering::Relaxed)) / start.elapsed().as_secs_f64();
        for worker in working {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok((rate, lags?))
    })
}

/// Changes one container again and again, as often as is due by now.
fn work(
    container: &Container<'_>,
    first: Instant,
    period: Duration,
    (done, over): (&AtomicUsize, &AtomicBool),
) -> Result<(), Trouble> {
    let mut due = first;
    for number in 0.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if over.load(Ordering::Relaxed) {
            break;
        }
        container.rename(&format!("{}-{number}", container.detail.name))?;
        done.fetch_add(1, Ordering::Relaxed);
        due += period;
    }
    Ok(())
}

fn watch(watched: &[Container<'_>], end: Instant) -> Result<Vec<f64>, Trouble> {
    let mut lags = Vec::new();
    let mut round = 0;
    while Instant::now() < end {
        check()?;
        let alias = format!("w{round}");
        lags.extend(spread(watched, round % watched.len(), &alias, EVERY)?);
        round += 1;
    }
    Ok(lags)
}

/// Changes asked for in a second: somewhat more than is promised.
const RATE: usize = 1050;
const LENGTH: Duration = Duration::from_secs(10);
/// Hosts with the manager: few enough for the cores that all of them share here, each of which has its own elsewhere.
const CHANGING: usize = 4;
/// Containers of each member that change.
const EACH: usize = 7;
/// Between two questions of one asker: each costs what the changes need too.
const EVERY: Duration = Duration::from_millis(20);
