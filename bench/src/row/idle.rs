//! What a switch costs that nobody uses.

use std::time::Duration;

use super::{Effort, Metric, Row};
use crate::interrupt::pause;
use crate::lab::{Lab, Topology};
use crate::process::used_s;
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
        let before = lab.switch_times().ok_or_else(no_process)?;
        pause(Duration::from_secs_f64(effort.stream_s))?;
        let after = lab.switch_times().ok_or_else(no_process)?;
        let memory = lab.switch_mib().ok_or_else(no_process)?;
        Ok(vec![
            used_s(&before, &after) * 1e3 / effort.stream_s,
            memory,
        ])
    }
}

fn no_process() -> Trouble {
    Trouble::Unsupported("it has no process of its own".to_owned())
}
