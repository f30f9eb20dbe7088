//! The agent, its workers, and what runs on this host.

use std::sync::atomic::{AtomicU64, Ordering};

use switch_io::{Moved, Switch};

use super::exposition::Exposition;
use super::label;
use super::metric::Metric;
use crate::containers::Containers;
use crate::endpoints::Endpoints;
use crate::flows::Counts;
use crate::ground::Ground;
use crate::latency::Distribution;

pub(super) fn agent(told: &mut Exposition, ground: &Ground) {
    let engine = label(ground.switch.engine().engine.name());
    let version = label(env!("CARGO_PKG_VERSION"));
    told.whole(Metric::Agent, &[&version, &engine], 1);
    let deaths = u64::from(ground.held.deaths.number);
    told.whole(Metric::AgentDeaths, &[], deaths);
    told.whole(Metric::AgentWarnings, &[], whole(ground.warnings().len()));
}

pub(super) fn workers(told: &mut Exposition, switch: &Switch) {
    for (index, report) in switch.workers().into_iter().enumerate() {
        let worker = &label(index.to_string());
        let worked = report.worked.as_secs_f64();
        told.real(Metric::WorkerCpu, &[worker], worked);
        told.whole(Metric::WorkerPorts, &[worker], whole(report.ports));
        told.spread(Metric::WorkerBatch, &[worker], batches(&report.moved));
    }
    told.whole(Metric::WorkerRestarts, &[], switch.restarts());
}

pub(super) fn containers(told: &mut Exposition, containers: &Containers) {
    let (states, restarts) = containers.counts();
    for (state, count) in states {
        told.whole(Metric::Containers, &[&label(state)], whole(count));
    }
    told.whole(Metric::ContainerRestarts, &[], restarts);
}

pub(super) fn attaches(told: &mut Exposition, endpoints: &Endpoints) {
    let (took, failures) = endpoints.attaches();
    told.spread(Metric::Attach, &[], took);
    told.whole(Metric::AttachFailures, &[], failures);
}

pub(super) fn flows(told: &mut Exposition, counts: &Counts) {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    told.whole(Metric::FlowSamples, &[], count(&counts.samples));
    told.whole(Metric::FlowSamplesLost, &[], count(&counts.lost));
    told.whole(Metric::FlowDatagrams, &[], count(&counts.datagrams));
    told.whole(Metric::FlowDatagramsLost, &[], count(&counts.unsent));
}

fn batches(moved: &Moved) -> Distribution {
    let sizes = Moved::SIZES.map(f64::from).into_iter();
    // No batch is larger.
    let more = (f64::INFINITY, 0);
    Distribution {
        sum: real(moved.frames),
        buckets: sizes.zip(moved.batches).chain([more]).collect(),
    }
}

pub(super) fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Beyond 2^53 a real number has no room for each whole one.
#[allow(
    clippy::cast_precision_loss,
    reason = "as all of Prometheus, whose samples are of 64 bits"
)]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}
