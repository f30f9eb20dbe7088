//! Many ports: set-up time, memory, and whether a frame between two of them costs more.

use std::time::{Duration, Instant};

use super::{Effort, Metric, Row};
use crate::contender::{Plug, address_of};
use crate::interrupt;
use crate::lab::{LINK, Lab, Topology};
use crate::netns::Netns;
use crate::traffic::Flows;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Ports {
    /// With the two that talk.
    pub(crate) ports: usize,
}

impl Row for Ports {
    fn name(&self) -> String {
        format!("ports-{}", self.ports)
    }

    fn what(&self) -> String {
        format!(
            "{} ports: time to attach them, memory, and CPU a frame between two of them at {RATE} frames/s (switch: its \
             processes; path: with both ends, in whose context a kernel switches)",
            self.ports
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("setup", "s"),
                Metric::lower("memory", "MiB"),
                Metric::lower("switch-cost", "µs/frame"),
                Metric::lower("path-cost", "µs/frame"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2).fresh(self.ports)
    }

    fn rounds_max(&self) -> usize {
        match self.ports {
            0..=64 => usize::MAX,
            65..=1000 => 2,
            _ => 1,
        }
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        // As containers have them: one namespace each, made before the clock runs.
        let crowd = Netns::many(self.ports - lab.stations.len(), "crowd")?;
        let start = Instant::now();
        attach_all(lab, &crowd)?;
        let setup_s = start.elapsed().as_secs_f64();
        let memory = lab.switch_mib().unwrap_or(f64::NAN);
        let frames = RATE * effort.stream_s;
        let ((), cost) = lab.metered(|lab| {
            let (from, to) = ([&lab.stations[0]], [&lab.stations[1]]);
            let mut traffic = Flows::new(&from, &to).start(lab)?;
            traffic.trial(SIZE, Some(RATE), effort.stream_s).map(drop)
        })?;
        let ends = cost.sender_cpu_s + cost.receiver_cpu_s;
        let switch = cost.switch_cpu_s;
        Ok(vec![
            if crowd.is_empty() { f64::NAN } else { setup_s },
            memory,
            switch.map_or(f64::NAN, |used| used * 1e6 / frames),
            (ends + switch.unwrap_or(0.0)) * 1e6 / frames,
        ])
    }
}

/// Attaches all of them, beside the lab's own stations.
pub(super) fn attach_all(lab: &mut Lab, crowd: &[Netns]) -> Result<(), Trouble> {
    let start = Instant::now();
    for (index, netns) in crowd.iter().enumerate() {
        interrupt::check()?;
        if start.elapsed() > PATIENCE {
            return Err(Trouble::Late {
                what: format!("attaching {} ports ({index} are attached)", crowd.len()),
                limit: PATIENCE,
            });
        }
        lab.fabric.attach(&Plug {
            netns,
            link: LINK,
            address: address_of(lab.stations.len() + index),
        })?;
    }
    Ok(())
}

/// A contender that takes longer to attach them is not waited for.
const PATIENCE: Duration = Duration::from_secs(300);
const SIZE: usize = 64;
const RATE: f64 = 20_000.0;
