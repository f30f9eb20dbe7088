//! Datagrams of one size between two stations: the highest rate delivered with at most 0.5 % lost.

use super::{Effort, Metric, Row};
use crate::lab::{Lab, Topology};
use crate::search::Search;
use crate::traffic::{Flows, Traffic};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Udp {
    /// Payload bytes.
    pub(crate) size: usize,
}

impl Row for Udp {
    fn name(&self) -> String {
        format!("udp-{}", self.size)
    }

    fn what(&self) -> String {
        format!("{} B datagrams delivered at ≤ 0.5 % loss", self.size)
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "kframes/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn is_quick(&self) -> bool {
        self.size == 64
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let (from, to) = ([&lab.stations[0]], [&lab.stations[1]]);
        let mut traffic = Flows::new(&from, &to).start(lab)?;
        Ok(vec![delivered(&mut traffic, self.size, effort)? / 1e3])
    }
}

/// The same with superframes: one system call hands the kernel up to 43 datagrams (UDP_SEGMENT).
#[derive(Debug)]
pub(crate) struct UdpGso;

impl Row for UdpGso {
    fn name(&self) -> String {
        "udp-gso".to_owned()
    }

    fn what(&self) -> String {
        format!(
            "{SEGMENT} B datagrams sent {SEGMENTS} a call (UDP_SEGMENT), delivered at ≤ 0.5 % loss"
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "Gbit/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let (from, to) = ([&lab.stations[0]], [&lab.stations[1]]);
        let mut flows = Flows::new(&from, &to);
        flows.gso = SEGMENTS;
        flows.batch = 1;
        let rate = delivered(&mut flows.start(lab)?, SEGMENT, effort)?;
        Ok(vec![rate * BITS / 1e9])
    }
}

/// Frames a second, by search. A sender that is the limit gets a second thread: a kernel bridge works in the sender's own
/// context, and must not lose for want of load.
pub(super) fn delivered(
    traffic: &mut Traffic<'_>,
    size: usize,
    effort: &Effort,
) -> Result<f64, Trouble> {
    let search = Search {
        loss_max: LOSS_MAX,
        precision: PRECISION,
        trials_max: effort.trials_max,
    };
    let mut best = 0.0_f64;
    for threads in 1..=THREADS_MAX {
        traffic.set_threads(threads);
        let found = search.run(|rate| traffic.trial(size, rate, effort.trial_s))?;
        best = best.max(found.delivered);
        if !found.by_sender {
            break;
        }
    }
    Ok(best)
}

const THREADS_MAX: usize = 2;
const LOSS_MAX: f64 = 0.005;
const PRECISION: f64 = 0.03;
const SEGMENT: usize = 1472;
const BITS: f64 = 8.0 * 1472.0;
/// As many as fit 64 KiB less the headers.
const SEGMENTS: usize = 43;
