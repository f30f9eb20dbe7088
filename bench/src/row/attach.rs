//! How long it takes until a namespace has its link, and until it has it no longer.

use std::time::Instant;

use super::{Effort, Metric, Row};
use crate::contender::{Plug, address_of};
use crate::interrupt;
use crate::lab::{Lab, Topology};
use crate::netns::Netns;
use crate::statistics::{percentile, sorted};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Attach;

impl Row for Attach {
    fn name(&self) -> String {
        "attach".to_owned()
    }

    fn what(&self) -> String {
        "attaching one namespace after the other, and detaching: medians of up to 100".to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("p50", "ms"),
                Metric::lower("p99", "ms"),
                Metric::lower("detach", "ms"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let netns = Netns::new("attach")?;
        let (mut attached, mut detached) = (Vec::new(), Vec::new());
        for index in 0..effort.attaches {
            interrupt::check()?;
            let link = format!("eth{index}");
            let plug = Plug {
                netns: &netns,
                link: &link,
                address: address_of(FIRST + index),
            };
            let start = Instant::now();
            lab.fabric.attach(&plug)?;
            attached.push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            lab.fabric.detach(&plug)?;
            detached.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let (attached, detached) = (sorted(&attached), sorted(&detached));
        let at = |times: &[f64], percent| percentile(times, percent).unwrap_or(f64::NAN);
        Ok(vec![
            at(&attached, 50.0),
            at(&attached, 99.0),
            at(&detached, 50.0),
        ])
    }
}

/// Beyond the stations' own addresses.
const FIRST: usize = 1000;
