//! TCP_RR beside load, on the same ports or on others: what a question and its answer wait for the traffic of others.

use std::time::Duration;

use super::latency::{LOAD_SIZE, METRICS, Pair, figures};
use super::{Effort, Metric, Row};
use crate::interrupt::pause;
use crate::iperf3::Test;
use crate::lab::{Lab, Topology};
use crate::traffic::Flows;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) load: Load,
    /// The load is between two other stations.
    pub(crate) elsewhere: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One stream.
    Tcp,
    /// 512 B datagrams at half of what the switch carries.
    Datagrams,
}

impl Row for Beside {
    fn name(&self) -> String {
        let load = match self.load {
            Load::Tcp => "tcp",
            Load::Datagrams => "datagrams",
        };
        let place = if self.elsewhere { "" } else { "-same" };
        format!("beside-{load}{place}")
    }

    fn what(&self) -> String {
        let load = match self.load {
            Load::Tcp => "1 TCP stream",
            Load::Datagrams => "512 B datagrams at half load",
        };
        let place = if self.elsewhere {
            "between two other ports"
        } else {
            "between the same ports"
        };
        format!("ask, answer (TCP_RR), beside {load} {place}")
    }

    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn topology(&self) -> Topology {
        Topology::stations(4)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let [one, two, three, four] = lab.stations.as_slice() else {
            return Err(Trouble::Unsupported("needs four stations".to_owned()));
        };
        let (from, to) = if self.elsewhere {
            (three, four)
        } else {
            (one, two)
        };
        let mut pair = Pair::start(lab, one, two)?;
        let latencies = match self.load {
            Load::Tcp => {
                let test = Test {
                    streams: 1,
                    both_ways: false,
                    seconds: effort.stream_s + 2.0 * RISE_S,
                    options: &[],
                };
                let running = test.begin(lab, from, to, to.address)?;
                pause(Duration::from_secs_f64(RISE_S))?;
                let latencies = pair.exchange(false, effort.stream_s);
                running.end()?;
                latencies?
            }
            Load::Datagrams => {
                let (senders, sinks) = ([from], [to]);
                let mut traffic = Flows::new(&senders, &sinks).start(lab)?;
                let flood = traffic.trial(LOAD_SIZE, None, effort.trial_s)?;
                let seconds = effort.stream_s + 2.0 * MARGIN_S;
                traffic.begin(LOAD_SIZE, Some(flood.delivered / 2.0), seconds)?;
                pause(Duration::from_secs_f64(MARGIN_S))?;
                let latencies = pair.exchange(false, effort.stream_s);
                traffic.end(seconds)?;
                latencies?
            }
        };
        Ok(figures(&latencies))
    }
}

/// Before a stream has found its rate, nothing is measured.
const RISE_S: f64 = 0.5;
const MARGIN_S: f64 = 0.1;
