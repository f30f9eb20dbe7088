//! Names: how fast the gateway's name server answers, and what that costs the traffic beside it.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Effort, Metric, Row};
use crate::dnsperf::{Answers, Load, Names};
use crate::iperf3;
use crate::lab::{Lab, Topology};
use crate::names::NAMES_STATION;
use crate::statistics::Summary;
use crate::trouble::Trouble;

/// Answers a second of the contender that is measured first: half of their median is the half load of all. One of these
/// is shared by the rows of a family.
#[derive(Debug, Default)]
pub(crate) struct Reference(RefCell<Option<(&'static str, Vec<f64>)>>);

/// What is asked of the name server.
#[derive(Debug)]
pub(crate) enum Dns {
    /// Names of a container, as fast as they are answered.
    Local(Rc<Reference>),
    /// Foreign names that were asked for before.
    Cached,
    /// Latency at half load.
    HalfLoad(Rc<Reference>),
    /// Bulk TCP without and with half load.
    Bulk(Rc<Reference>),
}

impl Reference {
    fn note(&self, contender: &'static str, rate: f64) {
        let mut first = self.0.borrow_mut();
        let (name, rates) = first.get_or_insert_with(|| (contender, Vec::new()));
        if *name == contender {
            rates.push(rate);
        }
    }

    /// Names of a container at half of the median, which is measured now if no row did.
    fn half_load(&self, lab: &Lab, effort: &Effort) -> Result<Load, Trouble> {
        if self.0.borrow().is_none() {
            ask(lab, Names::Local, effort.stream_s)?.noted(self, lab);
        }
        let first = self.0.borrow();
        let rates = first
            .as_ref()
            .and_then(|(_, rates)| Summary::of(rates))
            .ok_or_else(|| Trouble::Unsupported("no rate to halve".to_owned()))?;
        Ok(Load {
            rate: Some(rates.median / 2.0),
            ..local(effort.stream_s)
        })
    }
}

impl Answers {
    fn noted(self, reference: &Reference, lab: &Lab) -> Self {
        reference.note(lab.contender, self.rate);
        self
    }

    /// In the order of [`RATE`].
    fn figures(&self) -> Vec<f64> {
        vec![self.rate / 1e3, self.lost]
    }
}

impl Row for Dns {
    fn name(&self) -> String {
        match self {
            Self::Local(_) => "dns-local",
            Self::Cached => "dns-cached",
            Self::HalfLoad(_) => "dns-half-load",
            Self::Bulk(_) => "dns-bulk",
        }
        .to_owned()
    }

    fn what(&self) -> String {
        match self {
            Self::Local(_) => {
                "dnsperf, 100 questions open: names of a container on the same network"
            }
            Self::Cached => {
                "dnsperf, 100 questions open: 100 names of an upstream server, all asked for before"
            }
            Self::HalfLoad(_) => {
                "names of a container at half of what the first contender answers, the same for all: latency"
            }
            Self::Bulk(_) => {
                "1 TCP stream between containers without, then with that half load on the name server"
            }
        }
        .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        match self {
            Self::Local(_) | Self::Cached => RATE,
            Self::HalfLoad(_) => HALF_LOAD,
            Self::Bulk(_) => BULK,
        }
    }

    fn topology(&self) -> Topology {
        Topology::stations(2)
    }

    fn is_quick(&self) -> bool {
        !matches!(self, Self::Bulk(_))
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        match self {
            Self::Local(reference) => {
                let answers = ask(lab, Names::Local, effort.stream_s)?;
                Ok(answers.noted(reference, lab).figures())
            }
            Self::Cached => cached(lab, effort),
            Self::HalfLoad(reference) => half_loaded(&reference.half_load(lab, effort)?, lab),
            Self::Bulk(reference) => bulk(&reference.half_load(lab, effort)?, lab, effort),
        }
    }
}

fn cached(lab: &Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
    if !lab.fabric.caches_names() {
        return Err(Trouble::Unsupported("it has no cache".to_owned()));
    }
    ask(lab, Names::Foreign, FILLING_S)?;
    Ok(ask(lab, Names::Foreign, effort.stream_s)?.figures())
}

fn half_loaded(half_load: &Load, lab: &Lab) -> Result<Vec<f64>, Trouble> {
    let load = Load {
        timed: true,
        ..*half_load
    };
    let answers = load.run(lab, &lab.stations[0])?;
    Ok(vec![
        answers.percentile_us(50.0),
        answers.percentile_us(99.0),
        answers.rate / 1e3,
        answers.lost,
    ])
}

fn bulk(half_load: &Load, lab: &Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
    let test = iperf3::Test {
        streams: 1,
        both_ways: false,
        seconds: effort.stream_s,
        options: &[],
    };
    let (client, holder) = (&lab.stations[0], &lab.stations[NAMES_STATION]);
    let alone = test.run(lab, client, holder)?;
    let load = Load {
        seconds: effort.stream_s + LOAD_MARGIN_S,
        ..*half_load
    };
    let asking = load.start(lab, client)?;
    let beside = test.run(lab, client, holder)?;
    let answers = asking.finish()?;
    Ok(vec![alone, beside, beside / alone, answers.lost])
}

fn ask(lab: &Lab, names: Names, seconds: f64) -> Result<Answers, Trouble> {
    let load = Load {
        names,
        ..local(seconds)
    };
    load.run(lab, &lab.stations[0])
}

const fn local(seconds: f64) -> Load {
    Load {
        names: Names::Local,
        rate: None,
        seconds,
        timed: false,
    }
}

const RATE: &[Metric] = &[
    Metric::higher("rate", "k/s"),
    Metric::lower("lost", "queries"),
];
const HALF_LOAD: &[Metric] = &[
    Metric::lower("p50", "µs"),
    Metric::lower("p99", "µs"),
    Metric::higher("rate", "k/s"),
    Metric::lower("lost", "queries"),
];
const BULK: &[Metric] = &[
    Metric::higher("alone", "Gbit/s"),
    Metric::higher("beside", "Gbit/s"),
    Metric::higher("ratio", "×"),
    Metric::lower("lost", "queries"),
];
/// Enough to ask for each foreign name many times.
const FILLING_S: f64 = 0.5;
/// The load starts before the stream and ends after it.
const LOAD_MARGIN_S: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_contender_sets_the_load() {
        let reference = Reference::default();
        for (name, rate) in [("dnsmasq", 10.0), ("tapestry", 90.0), ("dnsmasq", 20.0)] {
            reference.note(name, rate);
        }
        let noted = reference.0.borrow().clone();
        assert_eq!(noted, Some(("dnsmasq", vec![10.0, 20.0])));
    }
}
