//! Many stations at once: everybody to everybody, and everybody to one (RFC 2889 §5.1, §5.2).

use super::udp::delivered;
use super::{Effort, Metric, Row};
use crate::lab::{Lab, Station, Topology};
use crate::traffic::Flows;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) stations: usize,
}

impl Row for Mesh {
    fn name(&self) -> String {
        format!("mesh-{}", self.stations)
    }

    fn what(&self) -> String {
        format!(
            "{} stations, each to every other in turn: {SIZE} B datagrams delivered at ≤ 0.5 % loss",
            self.stations
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "kframes/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(self.stations)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let all: Vec<&Station> = lab.stations.iter().collect();
        let mut flows = Flows::new(&all, &all);
        flows.mesh = true;
        flows.batch = BATCH;
        Ok(vec![delivered(&mut flows.start(lab)?, SIZE, effort)? / 1e3])
    }
}

#[derive(Debug)]
pub(crate) struct ManyToOne;

impl Row for ManyToOne {
    fn name(&self) -> String {
        "many-to-one".to_owned()
    }

    fn what(&self) -> String {
        format!(
            "{} stations to one: {SIZE} B datagrams delivered at ≤ 0.5 % loss",
            SENDERS
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "kframes/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(SENDERS + 1)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let from: Vec<&Station> = lab.stations.iter().skip(1).collect();
        let to = [&lab.stations[0]];
        let mut flows = Flows::new(&from, &to);
        flows.batch = BATCH;
        Ok(vec![delivered(&mut flows.start(lab)?, SIZE, effort)? / 1e3])
    }
}

const SIZE: usize = 64;
const SENDERS: usize = 15;
/// Small, so that the flows mix.
const BATCH: usize = 8;
