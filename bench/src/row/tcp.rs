//! Bulk TCP between two stations (iperf3).

use super::{Effort, Metric, Row};
use crate::iperf3::Test;
use crate::lab::{Lab, Topology};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) streams: usize,
    pub(crate) both_ways: bool,
    pub(crate) mtu: u16,
}

impl Row for Tcp {
    fn name(&self) -> String {
        let kind = if self.both_ways {
            "bidir".to_owned()
        } else {
            format!("x{}", self.streams)
        };
        format!("tcp-{kind}-{}", self.mtu)
    }

    fn what(&self) -> String {
        let ways = if self.both_ways {
            "both ways at once, "
        } else {
            ""
        };
        let streams = if self.streams == 1 {
            "stream"
        } else {
            "streams"
        };
        format!("{} TCP {streams}, {ways}MTU {}", self.streams, self.mtu)
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "Gbit/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2).with_mtu(self.mtu)
    }

    fn is_quick(&self) -> bool {
        self.mtu == 1500
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let test = Test {
            streams: self.streams,
            both_ways: self.both_ways,
            seconds: effort.stream_s,
            options: &[],
        };
        Ok(vec![test.run(lab, &lab.stations[0], &lab.stations[1])?])
    }
}
