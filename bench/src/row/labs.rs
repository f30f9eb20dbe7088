//! Labs: how long a graph of many nodes takes to come up.

use std::time::Instant;

use super::{Effort, Metric, Row};
use crate::lab::{Lab, Topology};
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
        let start = Instant::now();
        let up = rig.up();
        let up_s = start.elapsed().as_secs_f64();
        let works = up.and_then(|()| rig.reaches());
        let start = Instant::now();
        let down = rig.down();
        let down_s = start.elapsed().as_secs_f64();
        works.and(down)?;
        Ok(vec![up_s, down_s])
    }
}

fn no_rig() -> Trouble {
    Trouble::Unsupported("it brings no labs up".to_owned())
}
