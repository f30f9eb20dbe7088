//! Between two containers on two hosts: bulk TCP, datagrams and transactions, over several underlays.

use super::latency::{Pair, figures};
use super::udp::delivered;
use super::{Effort, Metric, Row};
use crate::contender::{Underlay, Wire};
use crate::iperf3::Test;
use crate::lab::{Lab, Topology};
use crate::process::used_s;
use crate::traffic::Flows;
use crate::trouble::Trouble;

/// Bulk TCP (iperf3).
#[derive(Debug)]
pub(crate) struct OverlayTcp {
    pub(crate) streams: usize,
    pub(crate) underlay: Underlay,
}

impl OverlayTcp {
    fn kind(&self) -> &'static str {
        match self.underlay.wire {
            Wire::Segmented => "-segmented",
            Wire::Lossy => "-loss1",
            Wire::Offloaded if self.underlay.mtu > Underlay::PLAIN.mtu => "-jumbo",
            Wire::Offloaded => "",
        }
    }
}

impl Row for OverlayTcp {
    fn name(&self) -> String {
        match self.underlay.wire {
            Wire::Lossy => "overlay-tcp-loss1".to_owned(),
            _ => format!("overlay-tcp-x{}{}", self.streams, self.kind()),
        }
    }

    fn what(&self) -> String {
        let wire = match self.underlay.wire {
            Wire::Offloaded => "GSO trains cross it whole",
            Wire::Segmented => "every packet alone",
            Wire::Lossy => "every packet alone, 1 % lost each way",
        };
        let (streams, mtu) = (self.streams, self.underlay.mtu);
        format!(
            "{streams} TCP stream(s) between two hosts, underlay MTU {mtu}, {wire}; MTU inside, and CPU of the hosts' daemons"
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::higher("", "Gbit/s"),
                Metric::higher("mtu", "B"),
                Metric::lower("cpu", "s/GB"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2).over(self.underlay)
    }

    fn is_quick(&self) -> bool {
        self.streams == 1 && self.underlay == Underlay::PLAIN
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let test = Test {
            streams: self.streams,
            both_ways: false,
            seconds: effort.stream_s,
            options: &[],
        };
        let (from, to) = (&lab.stations[0], &lab.stations[1]);
        let before = lab.switch_times().unwrap_or_default();
        let rate = test.run(lab, from, to)?;
        let after = lab.switch_times().unwrap_or_default();
        let gigabytes = rate * effort.stream_s / 8.0;
        let cpu = used_s(&before, &after) / gigabytes;
        Ok(vec![rate, from.mtu()?.into(), cpu])
    }
}

/// Datagrams.
#[derive(Debug)]
pub(crate) struct OverlayUdp {
    /// Payload bytes.
    pub(crate) size: usize,
    pub(crate) underlay: Underlay,
}

impl Row for OverlayUdp {
    fn name(&self) -> String {
        format!("overlay-udp-{}", self.size)
    }

    fn what(&self) -> String {
        format!(
            "{} B datagrams between two hosts, delivered at ≤ 0.5 % loss",
            self.size
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "kframes/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2).over(self.underlay)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let (from, to) = ([&lab.stations[0]], [&lab.stations[1]]);
        let mut traffic = Flows::new(&from, &to).start(lab)?;
        Ok(vec![delivered(&mut traffic, self.size, effort)? / 1e3])
    }
}

/// TCP_RR.
#[derive(Debug)]
pub(crate) struct OverlayLatency;

impl Row for OverlayLatency {
    fn name(&self) -> String {
        "overlay-rr".to_owned()
    }

    fn what(&self) -> String {
        "ask, answer (TCP_RR) between two hosts, idle".to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        super::latency::METRICS
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let mut pair = Pair::start(lab, &lab.stations[0], &lab.stations[1])?;
        Ok(figures(&pair.exchange(false, effort.stream_s)?))
    }
}
