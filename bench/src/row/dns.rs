//! Names: how fast the gateway's name server answers, and what that costs the traffic beside it.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Effort, Metric, Row};
use crate::dnsperf::{Answers, Load, NAMES_STATION, Names};
use crate::iperf3;
use crate::lab::{Lab, Topology};
use crate::statistics::Summary;
use crate::trouble::Trouble;

/// Answers a second of the contender that is measured first: half of their median is the half load of all. One of these
/// is shared by the rows of a family.
#[derive(Debug, Default)]
pub(crate) struct Reference(RefCell<Option<(&'static str, Vec<f64>)>>);

/// Names of a container, as fast as they are answered.
#[derive(Debug)]
pub(crate) struct DnsLocal(pub(crate) Rc<Reference>);

/// Foreign names that were asked for before.
#[derive(Debug)]
pub(crate) struct DnsCached;

/// Latency at half load.
#[derive(Debug)]
pub(crate) struct DnsHalfLoad(pub(crate) Rc<Reference>);

/// Bulk TCP without and with half load.
#[derive(Debug)]
pub(crate) struct DnsBulk(pub(crate) Rc<Reference>);

impl Reference {
    fn note(&self, contender: &'static str, rate: f64) {
        let mut first = self.0.borrow_mut();
        let (name, rates) = first.get_or_insert_with(|| (contender, Vec::new()));
        if *name == contender {
            rates.push(rate);
        }
    }

    /// Measured now if no row did.
    fn half_load(&self, lab: &Lab, effort: &Effort) -> Result<f64, Trouble> {
        if self.0.borrow().is_none() {
            ask(lab, Names::Local, effort.stream_s)?.noted(self, lab);
        }
        let first = self.0.borrow();
        let median = first.as_ref().and_then(|(_, rates)| Summary::of(rates));
        median
            .map(|rates| rates.median / 2.0)
            .ok_or_else(|| Trouble::Unsupported("no rate to halve".to_owned()))
    }
}

impl Answers {
    fn noted(self, reference: &Reference, lab: &Lab) -> Self {
        reference.note(lab.contender, self.rate);
        self
    }
}

impl Row for DnsLocal {
    fn name(&self) -> String {
        "dns-local".to_owned()
    }

    fn what(&self) -> String {
        "dnsperf, 100 questions open: names of a container on the same network".to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        RATE
    }

    fn topology(&self) -> Topology {
        TOPOLOGY
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let answers = ask(lab, Names::Local, effort.stream_s)?.noted(&self.0, lab);
        Ok(vec![answers.rate / 1e3, answers.lost])
    }
}

impl Row for DnsCached {
    fn name(&self) -> String {
        "dns-cached".to_owned()
    }

    fn what(&self) -> String {
        "dnsperf, 100 questions open: 100 names of an upstream server, all asked for before"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        RATE
    }

    fn topology(&self) -> Topology {
        TOPOLOGY
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        if !lab.fabric.caches_names() {
            return Err(Trouble::Unsupported("it has no cache".to_owned()));
        }
        ask(lab, Names::Foreign, FILLING_S)?;
        let answers = ask(lab, Names::Foreign, effort.stream_s)?;
        Ok(vec![answers.rate / 1e3, answers.lost])
    }
}

impl Row for DnsHalfLoad {
    fn name(&self) -> String {
        "dns-half-load".to_owned()
    }

    fn what(&self) -> String {
        "names of a container at half of what the first contender answers, the same for all: latency"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::lower("p50", "µs"),
                Metric::lower("p99", "µs"),
                Metric::higher("rate", "k/s"),
                Metric::lower("lost", "queries"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        TOPOLOGY
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let rate = self.0.half_load(lab, effort)?;
        let load = Load {
            rate: Some(rate),
            timed: true,
            ..local(effort.stream_s)
        };
        let answers = load.run(lab, &lab.stations[0])?;
        Ok(vec![
            answers.percentile_us(50.0),
            answers.percentile_us(99.0),
            answers.rate / 1e3,
            answers.lost,
        ])
    }
}

impl Row for DnsBulk {
    fn name(&self) -> String {
        "dns-bulk".to_owned()
    }

    fn what(&self) -> String {
        "1 TCP stream between containers without, then with that half load on the name server"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const {
            &[
                Metric::higher("alone", "Gbit/s"),
                Metric::higher("beside", "Gbit/s"),
                Metric::higher("ratio", "×"),
                Metric::lower("lost", "queries"),
            ]
        }
    }

    fn topology(&self) -> Topology {
        TOPOLOGY
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let rate = self.0.half_load(lab, effort)?;
        let test = iperf3::Test {
            streams: 1,
            both_ways: false,
            seconds: effort.stream_s,
        };
        let (client, holder) = (&lab.stations[0], &lab.stations[NAMES_STATION]);
        let alone = test.run(lab, client, holder)?;
        let load = Load {
            rate: Some(rate),
            ..local(effort.stream_s + LOAD_MARGIN_S)
        };
        let asking = load.start(lab, client)?;
        let beside = test.run(lab, client, holder)?;
        let answers = asking.finish()?;
        Ok(vec![alone, beside, beside / alone, answers.lost])
    }
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
const TOPOLOGY: Topology = Topology::stations(2);
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
