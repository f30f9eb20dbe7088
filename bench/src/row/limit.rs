//! A port with a rate: how exactly it is kept, and whom it costs something.

use super::layers::{PAYLOAD_SHARE, beside, no_layers};
use super::{Effort, Metric, Row};
use crate::iperf3::Test;
use crate::lab::{Lab, Topology};
use crate::trouble::Trouble;

/// One stream to a port with a rate, and another between ports without.
#[derive(Debug)]
pub(crate) struct Limit {
    name: &'static str,
    rate: &'static str,
    gbit_s: f64,
    /// For iperf3 to send as much where no port has a rate.
    paced: &'static [&'static str],
}

impl Limit {
    pub(crate) const MBIT_100: Self = Self {
        name: "rate-100mbit",
        rate: "100mbit",
        gbit_s: 0.1,
        paced: &["--omit", "1", "--bitrate", "95M"],
    };
    pub(crate) const GBIT_1: Self = Self {
        name: "rate-1gbit",
        rate: "1gbit",
        gbit_s: 1.0,
        paced: &["--omit", "1", "--bitrate", "950M"],
    };
}

impl Row for Limit {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn what(&self) -> String {
        format!(
            "a port with a rate of {}: 1 TCP stream to it ÷ what TCP can have of the rate, of whose bytes on the wire 1,448 of 1,514 are \
             payload; another stream between other ports beside it ÷ beside one that its sender paces",
            self.rate
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("kept", "x"), Metric::higher("others", "x")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(4)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let (before, _) = beside(lab, effort, self.paced)?;
        limit(lab, Some(self.rate))?;
        let measured = self.limited(lab, effort);
        limit(lab, None)?;
        let (kept, others) = measured?;
        let (after, _) = beside(lab, effort, self.paced)?;
        Ok(vec![kept, others / f64::midpoint(before, after)])
    }
}

impl Limit {
    fn limited(&self, lab: &Lab, effort: &Effort) -> Result<(f64, f64), Trouble> {
        let [one, two, ..] = &lab.stations[..] else {
            return Err(no_layers());
        };
        let test = Test {
            streams: 1,
            both_ways: false,
            seconds: effort.stream_s,
            options: OMITTING,
        };
        let payload = test.run(lab, one, two)?;
        let (others, _) = beside(lab, effort, OMITTING)?;
        Ok((payload / (self.gbit_s * PAYLOAD_SHARE), others))
    }
}

fn limit(lab: &mut Lab, rate: Option<&str>) -> Result<(), Trouble> {
    let plug = lab.stations[1].plug();
    lab.fabric
        .layers()
        .ok_or_else(no_layers)?
        .limit(&plug, rate)
}

/// Until the stream has found its rate, nothing is counted.
const OMITTING: &[&str] = &["--omit", "1"];
