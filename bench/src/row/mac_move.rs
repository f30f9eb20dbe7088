//! How long frames to a MAC that has moved still go to its old place.

use std::time::Duration;

use super::{Effort, Metric, Row};
use crate::lab::{LINK, Lab, Topology};
use crate::statistics::{percentile, sorted};
use crate::tools::{Move, Moved};
use crate::traffic_process::End;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct MacMove;

impl Row for MacMove {
    fn name(&self) -> String {
        "mac-move".to_owned()
    }

    fn what(&self) -> String {
        format!("a MAC speaks on another port: time until frames arrive there, median of {MOVES}")
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::lower("", "µs")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(4)
    }

    fn run(&self, lab: &mut Lab, _effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let path = |index: usize| lab.stations[index].netns.path().display().to_string();
        let [watch, old, new] = [path(0), path(1), path(2)];
        let arguments = [
            "wire", "--watch", &watch, "--old", &old, "--new", &new, "--link", LINK,
        ];
        let mut tool = lab.tool(End::Sender, &arguments.map(str::to_owned))?;
        let mut times = Vec::new();
        for index in 0..MOVES {
            let moved: Moved = tool.ask(&Move { index }, Duration::from_secs(10))?;
            let after_us = moved.after_us.ok_or_else(|| Trouble::Tool {
                tool: "wire".to_owned(),
                reason: "a moved MAC was not found at its new port within a second".to_owned(),
            })?;
            times.push(after_us);
        }
        Ok(vec![percentile(&sorted(&times), 50.0).unwrap_or(f64::NAN)])
    }
}

const MOVES: u8 = 20;
