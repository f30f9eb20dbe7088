//! Links that wear something: what a capture and an impairment cost, and whom.

use std::fs;
use std::time::Duration;

use super::{Effort, Metric, Row};
use crate::contender::Layers;
use crate::iperf3::Test;
use crate::lab::{Lab, Station, Topology};
use crate::statistics::count_f64;
use crate::trouble::Trouble;

/// One stream, with its receiver's port captured and without.
#[derive(Debug)]
pub(crate) struct Capture;

impl Row for Capture {
    fn name(&self) -> String {
        "capture".to_owned()
    }

    fn what(&self) -> String {
        "1 TCP stream while tapestry capture -w writes what passes the receiver's port to two files of 100 MB in turn, ÷ without, in turns: \
         whole frames, 96 B of each (-s 96), and the shares of frames that were captured"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::higher("whole", "x"),
                Metric::higher("headers", "x"),
                Metric::higher("whole-kept", "%"),
                Metric::higher("headers-kept", "%"),
                Metric::higher("without", "Gbit/s"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let test = stream(effort);
        let plain = |lab: &Lab| test.run(lab, &lab.stations[0], &lab.stations[1]);
        let before = plain(lab)?;
        let (whole, whole_kept) = captured(lab, &test, None)?;
        let (headers, headers_kept) = captured(lab, &test, Some(HEADERS))?;
        let without = f64::midpoint(before, plain(lab)?);
        Ok(vec![
            whole / without,
            headers / without,
            whole_kept,
            headers_kept,
            without,
        ])
    }
}

/// The rate, and the share of the frames that the capture has.
fn captured(lab: &mut Lab, test: &Test, snaplen: Option<u32>) -> Result<(f64, f64), Trouble> {
    let plug = lab.stations[1].plug();
    let layers = lab.fabric.layers().ok_or_else(no_layers)?;
    let capturing = layers.capture(&plug, snaplen)?;
    let rate = test.run(lab, &lab.stations[0], &lab.stations[1]);
    let captured = capturing.end()?;
    let taken = count_f64(captured.taken);
    Ok((rate?, 100.0 * taken / (taken + count_f64(captured.lost))))
}

/// One stream, with frames sampled and without.
#[derive(Debug)]
pub(crate) struct Flows;

impl Row for Flows {
    fn name(&self) -> String {
        "flows".to_owned()
    }

    fn what(&self) -> String {
        "1 TCP stream while tapestry flows --live samples 1 frame in 1,000, and 1 in 100, ÷ without, in turns; and while 1 in 1,000 is \
         sampled, the metrics are read each second, and events are followed"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::higher("thousand", "x"),
                Metric::higher("hundred", "x"),
                Metric::higher("observed", "x"),
                Metric::higher("without", "Gbit/s"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let test = stream(effort);
        let plain = |lab: &Lab| test.run(lab, &lab.stations[0], &lab.stations[1]);
        let before = plain(lab)?;
        let thousand = sampled(lab, &test, 1000)?;
        let hundred = sampled(lab, &test, 100)?;
        let observing = lab.fabric.layers().ok_or_else(no_layers)?.observe()?;
        let observed = sampled(lab, &test, 1000)?;
        drop(observing);
        let without = f64::midpoint(before, plain(lab)?);
        Ok(vec![
            thousand / without,
            hundred / without,
            observed / without,
            without,
        ])
    }
}

/// The rate, while one frame in `every` is sampled.
fn sampled(lab: &mut Lab, test: &Test, every: u32) -> Result<f64, Trouble> {
    let layers = lab.fabric.layers().ok_or_else(no_layers)?;
    let sampling = layers.sample(every)?;
    let rate = test.run(lab, &lab.stations[0], &lab.stations[1]);
    drop(sampling);
    // Sampling goes on for a while, for who looks again.
    std::thread::sleep(LINGER);
    rate
}

/// A stream over an impaired link, beside one over links that are not.
#[derive(Debug)]
pub(crate) struct ImpairedLink;

impl Row for ImpairedLink {
    fn name(&self) -> String {
        "impaired-link".to_owned()
    }

    fn what(&self) -> String {
        "a link with rate 1gbit and delay 20ms: 1 TCP stream over it ÷ what TCP can have of it; another stream between other ports, beside \
         one over that link ÷ beside one of 1 Gbit/s that its sender paces and no link impairs"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::higher("kept", "x"),
                Metric::higher("others", "x"),
                Metric::higher("beside", "x"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(4)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        make_room(&lab.stations[0])?;
        let (before, _) = beside(lab, effort, PACED)?;
        impair(lab, Some((RATE, DELAY)))?;
        let measured = impaired(lab, effort);
        impair(lab, None)?;
        let [kept, others, kept_beside] = measured?;
        let (after, _) = beside(lab, effort, PACED)?;
        let most = RATE_GBIT_S * PAYLOAD_SHARE;
        let without = f64::midpoint(before, after);
        Ok(vec![kept / most, others / without, kept_beside / most])
    }
}

/// Has its streams keep as much on their way as the link holds, and what waits before it.
fn make_room(station: &Station) -> Result<(), Trouble> {
    let set = || fs::write(TCP_WMEM.0, TCP_WMEM.1);
    station.netns.enter(set)?.map_err(Trouble::io(TCP_WMEM.0))
}

/// The rates over the impaired link alone, of the others beside it, and over it then.
fn impaired(lab: &Lab, effort: &Effort) -> Result<[f64; 3], Trouble> {
    let test = Test {
        options: UNPACED,
        ..stream(effort)
    };
    let kept = test.run(lab, &lab.stations[0], &lab.stations[1])?;
    let (others, kept_beside) = beside(lab, effort, UNPACED)?;
    Ok([kept, others, kept_beside])
}

/// The rate of the other ports beside a stream to the second station, and that of the latter.
pub(super) fn beside(
    lab: &Lab,
    effort: &Effort,
    options: &'static [&'static str],
) -> Result<(f64, f64), Trouble> {
    let test = stream(effort);
    let [one, two, three, four] = &lab.stations[..] else {
        return Err(no_layers());
    };
    let first = Test { options, ..test }.begin(lab, one, two, two.address)?;
    let omitting = Test {
        options: UNPACED,
        ..test
    };
    let others = omitting.run(lab, three, four)?;
    Ok((others, first.end()?))
}

fn impair(lab: &mut Lab, words: Option<(&str, &str)>) -> Result<(), Trouble> {
    let plug = lab.stations[1].plug();
    let layers: &mut dyn Layers = lab.fabric.layers().ok_or_else(no_layers)?;
    layers.impair(&plug, words)
}

const fn stream(effort: &Effort) -> Test {
    Test {
        streams: 1,
        both_ways: false,
        seconds: effort.stream_s,
        options: &[],
    }
}

pub(super) fn no_layers() -> Trouble {
    Trouble::Unsupported("its ports wear nothing".to_owned())
}

/// For so long the agent samples after the last look, and some more.
const LINGER: Duration = Duration::from_secs(6);
/// Headers of Ethernet, IP and TCP, and some of what follows.
const HEADERS: u32 = 96;
const RATE: &str = "1gbit";
const DELAY: &str = "20ms";
/// The kernel's 4 MiB hold little more than 20 ms of 1 Gbit/s.
const TCP_WMEM: (&str, &str) = ("/proc/sys/net/ipv4/tcp_wmem", "4096 16384 33554432");
const RATE_GBIT_S: f64 = 1.0;
/// Of a frame's bytes, from its Ethernet header on, at MTU 1500 with TCP's timestamps.
pub(super) const PAYLOAD_SHARE: f64 = 1448.0 / 1514.0;
/// Until the stream has found its rate, which takes many round trips, it is not measured.
const UNPACED: &[&str] = &["--omit", "1"];
const PACED: &[&str] = &["--omit", "1", "--bitrate", "1G"];
