//! A container and a host of the LAN (iperf3).

use super::{Effort, Metric, Row};
use crate::iperf3::Test;
use crate::lab::{Lab, Topology};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct UplinkTcp {
    /// From the LAN to the container.
    pub(crate) inward: bool,
}

impl Row for UplinkTcp {
    fn name(&self) -> String {
        match self.inward {
            true => "uplink-tcp-in".to_owned(),
            false => "uplink-tcp-out".to_owned(),
        }
    }

    fn what(&self) -> String {
        match self.inward {
            true => "1 TCP stream from a host of the LAN to a container, MTU 1500".to_owned(),
            false => "1 TCP stream from a container to a host of the LAN, MTU 1500".to_owned(),
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "Gbit/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let test = Test {
            streams: 1,
            both_ways: false,
            seconds: effort.stream_s,
            options: &[],
        };
        let (lan, container) = (&lab.stations[0], &lab.stations[1]);
        let (from, to) = match self.inward {
            true => (lan, container),
            false => (container, lan),
        };
        Ok(vec![test.run(lab, from, to)?])
    }
}
