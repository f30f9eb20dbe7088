//! A port with a rate: how exactly it is kept, and whom it costs something.

use std::fs;
use std::time::{Duration, Instant};

use super::layers::{PAYLOAD_SHARE, beside, no_layers};
use super::{Effort, Metric, Row};
use crate::interrupt::pause;
use crate::iperf3::Test;
use crate::lab::{LINK, Lab, Station, Topology};
use crate::statistics::count_f64;
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
            "a port with a rate of {}: 1 TCP stream to it, in bytes of the wire as its link counts them, ÷ the rate; payload ÷ what TCP can \
             have of it; another stream between other ports beside it ÷ beside one that its sender paces",
            self.rate
        )
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::higher("kept", "x"),
                Metric::higher("payload", "x"),
                Metric::higher("others", "x"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(4)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let (before, _) = beside(lab, effort, self.paced)?;
        limit(lab, Some(self.rate))?;
        let measured = self.limited(lab, effort);
        limit(lab, None)?;
        let (kept, payload, others) = measured?;
        let (after, _) = beside(lab, effort, self.paced)?;
        Ok(vec![kept, payload, others / f64::midpoint(before, after)])
    }
}

impl Limit {
    fn limited(&self, lab: &Lab, effort: &Effort) -> Result<(f64, f64, f64), Trouble> {
        let [one, two, ..] = &lab.stations[..] else {
            return Err(no_layers());
        };
        let test = Test {
            streams: 1,
            both_ways: false,
            seconds: effort.stream_s + 2.0,
            options: &[],
        };
        let running = test.begin(lab, one, two, two.address)?;
        pause(RISE)?;
        let (start, before) = (Instant::now(), received(two)?);
        pause(Duration::from_secs_f64(effort.stream_s))?;
        let (elapsed, after) = (start.elapsed(), received(two)?);
        running.end()?;
        let gbit = count_f64(after.saturating_sub(before)) * 8.0 / 1e9;
        let test = Test {
            options: OMITTING,
            seconds: effort.stream_s,
            ..test
        };
        let payload = test.run(lab, one, two)?;
        let (others, _) = beside(lab, effort, OMITTING)?;
        Ok((
            gbit / elapsed.as_secs_f64() / self.gbit_s,
            payload / (self.gbit_s * PAYLOAD_SHARE),
            others,
        ))
    }
}

/// Bytes that have come to a station's link: of frames as long as on the wire, since a port with a rate cuts what is longer than its
/// burst; a longer one counts its headers once, which is a few in a thousand too little.
fn received(station: &Station) -> Result<u64, Trouble> {
    let read = || fs::read_to_string(COUNTS);
    let text = station.netns.enter(read)?.map_err(Trouble::io(COUNTS))?;
    let counted = text.lines().find_map(|line| {
        let (name, counts) = line.split_once(':')?;
        let received = counts.split_whitespace().next()?.parse().ok()?;
        (name.trim() == LINK).then_some(received)
    });
    counted.ok_or_else(|| Trouble::Unsupported(format!("{LINK} is not in {COUNTS}")))
}

fn limit(lab: &mut Lab, rate: Option<&str>) -> Result<(), Trouble> {
    let plug = lab.stations[1].plug();
    lab.fabric
        .layers()
        .ok_or_else(no_layers)?
        .limit(&plug, rate)
}

/// Of the namespace that the thread is in; `/proc/net` is the process's.
const COUNTS: &str = "/proc/thread-self/net/dev";
/// Until the stream has found its rate, nothing is counted.
const RISE: Duration = Duration::from_secs(1);
const OMITTING: &[&str] = &["--omit", "1"];
