//! The outcome of a run: for machines as JSON, for people as a table.

mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contender::Description;
use crate::lab::Cost;
use crate::machine::Machine;
use crate::row::Better;
use crate::statistics::{Summary, ratio};

pub(crate) use table::table;

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) version: String,
    /// Seconds since 1970.
    pub(crate) started_s: u64,
    pub(crate) took_s: f64,
    pub(crate) quick: bool,
    /// Rows are missing because somebody ended the run.
    #[serde(default)]
    pub(crate) interrupted: bool,
    pub(crate) machine: Machine,
    pub(crate) families: Vec<FamilyReport>,
}

impl Report {
    /// How the run ended, to be put behind how long it took.
    pub(crate) fn end(&self) -> &'static str {
        if self.interrupted {
            ", interrupted"
        } else {
            ""
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FamilyReport {
    pub(crate) name: String,
    pub(crate) baseline: Option<String>,
    pub(crate) contenders: Vec<ContenderReport>,
    pub(crate) rows: Vec<RowReport>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContenderReport {
    pub(crate) name: String,
    /// `None` when it never started.
    pub(crate) description: Option<Description>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RowReport {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) figures: Vec<Figure>,
    /// By contender, a cost a round.
    pub(crate) costs: BTreeMap<String, Vec<Cost>>,
    /// By contender, why it has no figure.
    pub(crate) absent: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) better: Better,
    /// By contender, a reading a round.
    pub(crate) readings: BTreeMap<String, Vec<f64>>,
}

impl Report {
    /// The readings of a contender's figure.
    pub(crate) fn readings(&self, contender: &str, figure: &str) -> Option<&[f64]> {
        let rows = self.families.iter().flat_map(|family| &family.rows);
        let mut figures = rows.flat_map(|row| &row.figures);
        let figure = figures.find(|known| known.name == figure)?;
        figure.readings.get(contender).map(Vec::as_slice)
    }
}

impl FamilyReport {
    pub(crate) fn describe(&mut self, contender: &str, description: Description) {
        let mut contenders = self.contenders.iter_mut();
        if let Some(report) = contenders.find(|report| report.name == contender) {
            report.description.get_or_insert(description);
        }
    }
}

impl RowReport {
    /// Adds a round. A reading that is not a number says that the contender has no such figure.
    pub(crate) fn add(&mut self, contender: &str, readings: &[f64], cost: Cost) {
        for (figure, reading) in self.figures.iter_mut().zip(readings) {
            if reading.is_finite() {
                let readings = figure.readings.entry(contender.to_owned()).or_default();
                readings.push(*reading);
            }
        }
        self.costs
            .entry(contender.to_owned())
            .or_default()
            .push(cost);
    }

    pub(crate) fn set_absent(&mut self, contender: &str, reason: &str) {
        self.absent.insert(contender.to_owned(), reason.to_owned());
    }

    pub(crate) fn is_absent(&self, contender: &str) -> bool {
        self.absent.contains_key(contender)
    }
}

impl Figure {
    pub(crate) fn summary(&self, contender: &str) -> Option<Summary> {
        Summary::of(self.readings.get(contender)?)
    }

    /// To the baseline; `None` for the baseline itself.
    pub(crate) fn ratio(&self, contender: &str, baseline: Option<&str>) -> Option<f64> {
        let baseline = baseline.filter(|name| *name != contender)?;
        ratio(self.readings.get(contender)?, self.readings.get(baseline)?)
    }
}

/// Three significant digits, without an exponent.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let digits = if size == 0.0 || size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        3
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report of one figure.
    pub(crate) fn report(readings: &[(&str, &[f64])]) -> Report {
        let readings = readings
            .iter()
            .map(|(name, values)| ((*name).to_owned(), values.to_vec()));
        let contender = |name: &str| ContenderReport {
            name: name.to_owned(),
            description: None,
        };
        Report {
            version: "0".to_owned(),
            started_s: 0,
            took_s: 1.0,
            quick: true,
            interrupted: false,
            machine: Machine {
                kernel: "Linux".to_owned(),
                processor: "<fast>".to_owned(),
                cores: 2,
                congestion_control: "cubic".to_owned(),
                load: "0".to_owned(),
            },
            families: vec![FamilyReport {
                name: "one-host".to_owned(),
                baseline: Some("bridge".to_owned()),
                contenders: ["bridge", "tapestry", "vde"].map(contender).into(),
                rows: vec![RowReport {
                    name: "tcp-x1-1500".to_owned(),
                    what: "1 TCP stream".to_owned(),
                    figures: vec![Figure {
                        name: "tcp-x1-1500".to_owned(),
                        unit: "Gbit/s".to_owned(),
                        better: Better::Higher,
                        readings: readings.collect(),
                    }],
                    costs: BTreeMap::new(),
                    absent: BTreeMap::from([("vde".to_owned(), "not installed".to_owned())]),
                }],
            }],
        }
    }

    #[test]
    fn a_report_survives_json() {
        let report = report(&[("bridge", &[10.0, 12.5]), ("tapestry", &[9.0])]);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn the_baseline_has_no_ratio_to_itself() {
        let report = report(&[("bridge", &[10.0]), ("tapestry", &[9.0])]);
        let figure = &report.families[0].rows[0].figures[0];
        assert_eq!(figure.ratio("bridge", Some("bridge")), None);
        assert_eq!(figure.ratio("tapestry", Some("bridge")), Some(0.9));
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(number(1234.5), "1234");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(0.1234), "0.123");
        assert_eq!(number(0.0), "0");
    }
}
