//! TCP_RR and TCP_CRR between two stations, idle and beside UDP at half of what the switch carries.

use std::time::Duration;

use super::{Effort, Metric, Row};
use crate::lab::{Lab, Station, Topology};
use crate::tools::{Exchange, Latencies};
use crate::traffic::Flows;
use crate::traffic_process::{End, TrafficProcess};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Latency {
    /// A connection for each transaction: TCP_CRR.
    pub(crate) connect: bool,
    pub(crate) loaded: bool,
}

impl Row for Latency {
    fn name(&self) -> String {
        let kind = if self.connect { "crr" } else { "rr" };
        let load = if self.loaded { "load" } else { "idle" };
        format!("{kind}-{load}")
    }

    fn what(&self) -> String {
        let kind = if self.connect {
            "connect, ask, answer, close (TCP_CRR)"
        } else {
            "ask, answer (TCP_RR)"
        };
        let load = if self.loaded {
            "beside 512 B datagrams at half load"
        } else {
            "idle"
        };
        format!("{kind}, {load}")
    }

    fn metrics(&self) -> &'static [Metric] {
        METRICS
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn is_quick(&self) -> bool {
        !self.loaded
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let (from, to) = (&lab.stations[0], &lab.stations[1]);
        let mut pair = Pair::start(lab, from, to)?;
        if !self.loaded {
            let latencies = pair.exchange(self.connect, effort.stream_s)?;
            return Ok(figures(&latencies));
        }
        let (senders, sinks) = ([from], [to]);
        let mut traffic = Flows::new(&senders, &sinks).start(lab)?;
        // What arrives under overload is what the switch carries; half of it is half load.
        let flood = traffic.trial(LOAD_SIZE, None, effort.trial_s)?;
        let seconds = effort.stream_s + LOAD_MARGIN_S;
        traffic.begin(LOAD_SIZE, Some(flood.delivered / 2.0), seconds)?;
        let latencies = pair.exchange(self.connect, effort.stream_s);
        traffic.end(seconds)?;
        Ok(figures(&latencies?))
    }
}

/// A server and a client.
pub(super) struct Pair<'l> {
    _server: TrafficProcess<'l>,
    client: TrafficProcess<'l>,
}

impl<'l> Pair<'l> {
    pub(super) fn start(lab: &'l Lab, from: &Station, to: &Station) -> Result<Self, Trouble> {
        let path = |station: &Station| station.netns.path().display().to_string();
        let server = ["rr-server".to_owned(), "--netns".to_owned(), path(to)];
        let server = lab.tool(End::Receiver, &server)?;
        let client = [
            "rr-client",
            "--netns",
            &path(from),
            "--to",
            &to.address.to_string(),
        ];
        let client = lab.tool(End::Sender, &client.map(str::to_owned))?;
        Ok(Self {
            _server: server,
            client,
        })
    }

    pub(super) fn exchange(&mut self, connect: bool, seconds: f64) -> Result<Latencies, Trouble> {
        let limit = Duration::from_secs_f64(seconds) + Duration::from_secs(10);
        self.client.ask(&Exchange { seconds, connect }, limit)
    }
}

pub(super) fn figures(latencies: &Latencies) -> Vec<f64> {
    vec![
        latencies.p50_us,
        latencies.p99_us,
        latencies.p999_us,
        latencies.rate,
    ]
}

/// Of [`figures`].
pub(super) const METRICS: &[Metric] = &[
    Metric::lower("p50", "µs"),
    Metric::lower("p99", "µs"),
    Metric::lower("p99.9", "µs"),
    Metric::higher("rate", "1/s"),
];
pub(super) const LOAD_SIZE: usize = 512;
/// The load starts before the transactions and ends after them.
const LOAD_MARGIN_S: f64 = 0.2;
