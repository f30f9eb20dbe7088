//! Broadcast to everybody (RFC 2889 §5.10).

use std::net::Ipv4Addr;

use super::{Effort, Metric, Row};
use crate::lab::{Lab, Station, Topology};
use crate::search::{Search, Trial};
use crate::statistics::as_f64;
use crate::traffic::Flows;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Broadcast {
    pub(crate) receivers: usize,
}

impl Row for Broadcast {
    fn name(&self) -> String {
        format!("broadcast-{}", self.receivers)
    }

    fn what(&self) -> String {
        format!(
            "{SIZE} B broadcasts delivered to {} stations at ≤ 0.5 % loss; a storm guard shows as its limit",
            self.receivers
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "kbroadcasts/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(self.receivers + 1)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let from = [&lab.stations[0]];
        let to: Vec<&Station> = lab.stations.iter().skip(1).collect();
        let mut flows = Flows::new(&from, &to);
        flows.to = Some(EVERYBODY);
        flows.batch = 8;
        let mut traffic = flows.start(lab)?;
        let search = Search {
            loss_max: 0.005,
            precision: 0.05,
            trials_max: effort.trials_max,
        };
        let copies = as_f64(self.receivers);
        let found = search.run(|rate| {
            let trial = traffic.trial(SIZE, rate, effort.trial_s)?;
            Ok(Trial {
                delivered: trial.delivered / copies,
                ..trial
            })
        })?;
        Ok(vec![found.delivered / 1e3])
    }
}

const SIZE: usize = 64;
/// The broadcast address of the stations' subnet.
const EVERYBODY: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 255);
