//! Labs: how long a graph of many nodes takes to come up, and what it takes then.

use std::time::Instant;

use super::{Effort, Metric, Row};
use crate::contender::Graph;
use crate::lab::{Lab, Topology};
use crate::process::{kernel_bytes, proportional_bytes, with_descendants};
use crate::statistics::count_f64;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct LabUp;

impl Row for LabUp {
    fn name(&self) -> String {
        "lab-up".to_owned()
    }

    fn what(&self) -> String {
        "90 hosts, 10 switches and 150 links, from the start of the program to its word that all is up; and down again"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::lower("", "s"), Metric::lower("down", "s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(0)
    }

    fn rounds_max(&self) -> usize {
        3
    }

    fn run(&self, lab: &mut Lab, _effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let rig = lab.fabric.rig().ok_or_else(no_rig)?;
        let (up, up_s) = timed(|| rig.up(Graph::Hundred));
        let works = up.and_then(|()| rig.reaches(Graph::Hundred));
        let (down, down_s) = timed(|| rig.down(Graph::Hundred));
        works.and(down)?;
        Ok(vec![up_s, down_s])
    }
}

/// A thousand nodes.
#[derive(Debug)]
pub(crate) struct FatTree;

impl Row for FatTree {
    fn name(&self) -> String {
        "lab-1000".to_owned()
    }

    fn what(&self) -> String {
        "a fat tree of 875 hosts, 75 routers, 50 bridges and 1,375 links: until it is up, 20 hosts have pinged each other, it is down; \
         memory of its processes and the agent's (PSS), and of the kernel"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("", "s"),
                Metric::lower("pingall", "s"),
                Metric::lower("memory", "MiB"),
                Metric::lower("down", "s"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(0)
    }

    fn rounds_max(&self) -> usize {
        1
    }

    fn run(&self, lab: &mut Lab, _effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let kernel_before = kernel_bytes().unwrap_or_default();
        let agent = lab.fabric.processes();
        let rig = lab.fabric.rig().ok_or_else(no_rig)?;
        let (up, up_s) = timed(|| rig.up(Graph::FatTree));
        let kernel = kernel_bytes().unwrap_or_default();
        let processes = agent.first().map(|pid| with_descendants(*pid));
        let shares = processes.into_iter().flatten();
        let shares: u64 = shares.filter_map(proportional_bytes).sum();
        let (pinged, pingall_s) = timed(|| up.and_then(|()| rig.reaches(Graph::FatTree)));
        let (down, down_s) = timed(|| rig.down(Graph::FatTree));
        pinged.and(down)?;
        let bytes = shares + kernel.saturating_sub(kernel_before);
        let memory = count_f64(bytes) / f64::from(1 << 20);
        Ok(vec![up_s, pingall_s, memory, down_s])
    }
}

/// With its seconds.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64())
}

fn no_rig() -> Trouble {
    Trouble::Unsupported("it brings no labs up".to_owned())
}
