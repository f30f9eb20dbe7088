//! Containers of others' engines: how long their network takes, and what goes over it.

use std::time::Instant;

use super::{Effort, Metric, Row};
use crate::contender::{Plug, Runtime, address_of};
use crate::interrupt;
use crate::iperf3::Test;
use crate::lab::{LINK, Lab, Station, Topology};
use crate::netns::Netns;
use crate::statistics::{percentile, sorted};
use crate::trouble::Trouble;

/// What a network adds to `docker run`.
#[derive(Debug)]
pub(crate) struct DockerRun;

impl Row for DockerRun {
    fn name(&self) -> String {
        "docker-run".to_owned()
    }

    fn what(&self) -> String {
        "docker run --rm true on the network, less what it takes on none, in turns: medians"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::lower("", "ms"), Metric::lower("none", "ms")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2).run_by(Runtime::Docker)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let turns = (effort.attaches / 10).clamp(2, 5);
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..turns {
            for (joined, times) in [false, true].into_iter().zip(&mut times) {
                interrupt::check()?;
                let engine = lab.fabric.engine().ok_or_else(no_engine)?;
                let start = Instant::now();
                engine.run(joined)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        let [none, joined] = times.map(|times| median(&times));
        Ok(vec![joined - none, none])
    }
}

/// Between two containers of one engine, or of one on each of two hosts.
#[derive(Debug)]
pub(crate) struct DockerTcp {
    pub(crate) runtime: Runtime,
}

impl Row for DockerTcp {
    fn name(&self) -> String {
        match self.runtime {
            Runtime::TwoDockers => "docker-overlay".to_owned(),
            _ => "docker-tcp".to_owned(),
        }
    }

    fn what(&self) -> String {
        match self.runtime {
            Runtime::TwoDockers => {
                "1 TCP stream between Docker's containers on two hosts (Docker's own: plain; ours: QUIC, encrypted)".to_owned()
            }
            _ => "1 TCP stream between two of Docker's containers".to_owned(),
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "Gbit/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2).run_by(self.runtime)
    }

    fn is_quick(&self) -> bool {
        self.runtime == Runtime::Docker
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let rate = test(effort).run(lab, &lab.stations[1], &lab.stations[0])?;
        Ok(vec![rate])
    }
}

/// From outside to a port that a container publishes.
#[derive(Debug)]
pub(crate) struct DockerPublished;

impl Row for DockerPublished {
    fn name(&self) -> String {
        "docker-published".to_owned()
    }

    fn what(&self) -> String {
        "1 TCP stream from outside the host to a port that docker run -p publishes".to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::higher("", "Gbit/s")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2).run_by(Runtime::Docker)
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let netns = Netns::new("outside")?;
        let engine = lab.fabric.engine().ok_or_else(no_engine)?;
        let address = engine.uplink(&netns)?;
        let outside = Station { netns, address };
        let rate = test(effort).run_at(lab, &outside, &lab.stations[0], address)?;
        Ok(vec![rate])
    }
}

/// A plugin's two calls.
#[derive(Debug)]
pub(crate) struct Cni;

impl Row for Cni {
    fn name(&self) -> String {
        "cni".to_owned()
    }

    fn what(&self) -> String {
        "CNI's ADD and DEL for one new namespace after the other: medians of up to 30".to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("", "ms"),
                Metric::lower("add", "ms"),
                Metric::lower("del", "ms"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(0).run_by(Runtime::Cni)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let (mut both, mut added, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..effort.attaches.min(30) {
            interrupt::check()?;
            let netns = Netns::new("pod")?;
            let plug = Plug {
                netns: &netns,
                link: LINK,
                address: address_of(index),
            };
            let start = Instant::now();
            lab.fabric.attach(&plug)?;
            let between = Instant::now();
            lab.fabric.detach(&plug)?;
            both.push(start.elapsed().as_secs_f64() * 1e3);
            added.push((between - start).as_secs_f64() * 1e3);
            deleted.push(between.elapsed().as_secs_f64() * 1e3);
        }
        Ok([both, added, deleted].map(|times| median(&times)).to_vec())
    }
}

fn test(effort: &Effort) -> Test {
    Test {
        streams: 1,
        both_ways: false,
        seconds: effort.stream_s,
        options: &[],
    }
}

fn median(times: &[f64]) -> f64 {
    percentile(&sorted(times), 50.0).unwrap_or(f64::NAN)
}

fn no_engine() -> Trouble {
    Trouble::Unsupported("no engine runs containers here".to_owned())
}
