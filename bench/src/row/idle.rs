//! What a switch costs that nobody uses.

use std::time::Duration;

use super::{Effort, Metric, Row};
use crate::interrupt::pause;
use crate::lab::{Lab, Topology};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Idle;

impl Row for Idle {
    fn name(&self) -> String {
        "idle".to_owned()
    }

    fn what(&self) -> String {
        "CPU of the switch's processes with two silent stations, and their memory".to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::lower("cpu", "ms/s"), Metric::lower("memory", "MiB")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let used = || {
            lab.switch_cpu_s()
                .zip(lab.switch_mib())
                .ok_or_else(no_process)
        };
        let (before, _) = used()?;
        pause(Duration::from_secs_f64(effort.stream_s))?;
        let (after, memory) = used()?;
        Ok(vec![(after - before) * 1e3 / effort.stream_s, memory])
    }
}

pub(super) fn no_process() -> Trouble {
    Trouble::Unsupported("it has no process of its own".to_owned())
}
