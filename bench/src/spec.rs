//! SPEC.md: what is promised, and whether a run keeps it.
//!
//! A promise is a row of the table: what it is in words, the expression that measures it, the bound it must meet and the
//! bound it aims at. An expression is `contender:figure`, or two of them with a `/` between.

use std::fmt;

use crate::report::Report;
use crate::statistics::{Summary, ratio};

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Promise {
    pub(crate) figure: String,
    pub(crate) measured_by: Expression,
    pub(crate) must: Bound,
    pub(crate) aim: Bound,
}

/// `contender:figure`, or the ratio of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    above: Reading,
    below: Option<Reading>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    contender: String,
    figure: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A promise beside what was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) promise: Promise,
    pub(crate) measured: Option<f64>,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The aim is met.
    Aim,
    /// What must be is met.
    Pass,
    Short,
    /// The run has no such figure.
    Unmeasured,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Aim => "pass, aim met",
            Self::Pass => "pass",
            Self::Short => "short",
            Self::Unmeasured => "not measured",
        })
    }
}

/// SPEC.md does not say what it should.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("SPEC.md: {what}: {text:?}")]
pub(crate) struct ParseSpec {
    what: &'static str,
    text: String,
}

/// Every promise of the text's table.
pub(crate) fn parse(text: &str) -> Result<Vec<Promise>, ParseSpec> {
    let lines = text.lines().filter(|line| line.starts_with('|'));
    // The heading and the rule below it.
    lines.skip(2).map(Promise::parse).collect()
}

/// Each promise beside what `report` has.
pub(crate) fn judge(promises: Vec<Promise>, report: &Report) -> Vec<Judged> {
    let judge = |promise: Promise| {
        let measured = promise.measured_by.evaluate(report);
        let verdict = match measured {
            None => Verdict::Unmeasured,
            Some(value) if promise.aim.admits(value) => Verdict::Aim,
            Some(value) if promise.must.admits(value) => Verdict::Pass,
            Some(_) => Verdict::Short,
        };
        Judged {
            promise,
            measured,
            verdict,
        }
    };
    promises.into_iter().map(judge).collect()
}

impl Promise {
    fn parse(line: &str) -> Result<Self, ParseSpec> {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [figure, measured_by, must, aim] = cells.as_slice() else {
            return Err(refused("not four cells", line));
        };
        Ok(Self {
            figure: (*figure).to_owned(),
            measured_by: Expression::parse(measured_by.trim_matches('`'))?,
            must: Bound::parse(must)?,
            aim: Bound::parse(aim)?,
        })
    }
}

impl Expression {
    fn parse(text: &str) -> Result<Self, ParseSpec> {
        let mut readings = text.split('/').map(|part| Reading::parse(part.trim()));
        let above = readings
            .next()
            .ok_or_else(|| refused("no expression", text))??;
        let below = readings.next().transpose()?;
        if readings.next().is_some() {
            return Err(refused("more than one `/`", text));
        }
        Ok(Self { above, below })
    }

    fn evaluate(&self, report: &Report) -> Option<f64> {
        let above = self.above.find(report)?;
        match &self.below {
            Some(below) => ratio(above, below.find(report)?),
            None => Summary::of(above).map(|summary| summary.median),
        }
    }

    /// Names of figures, for a check that they exist.
    #[cfg(test)]
    fn readings(&self) -> impl Iterator<Item = &Reading> {
        std::iter::once(&self.above).chain(&self.below)
    }
}

impl Reading {
    fn parse(text: &str) -> Result<Self, ParseSpec> {
        let (contender, figure) = text
            .split_once(':')
            .ok_or_else(|| refused("not contender:figure", text))?;
        Ok(Self {
            contender: contender.to_owned(),
            figure: figure.to_owned(),
        })
    }

    fn find<'r>(&self, report: &'r Report) -> Option<&'r [f64]> {
        report.readings(&self.contender, &self.figure)
    }
}

impl Bound {
    fn parse(text: &str) -> Result<Self, ParseSpec> {
        let number = |rest: &str| {
            rest.trim()
                .parse()
                .map_err(|_| refused("not a bound", text))
        };
        match (text.strip_prefix('≥'), text.strip_prefix('≤')) {
            (Some(rest), _) => Ok(Self::AtLeast(number(rest)?)),
            (_, Some(rest)) => Ok(Self::AtMost(number(rest)?)),
            _ => Err(refused("not a bound", text)),
        }
    }

    fn admits(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

fn refused(what: &'static str, text: &str) -> ParseSpec {
    ParseSpec {
        what,
        text: text.to_owned(),
    }
}

/// The promises this program was built with.
pub(crate) const SPEC: &str = include_str!("../SPEC.md");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::families;
    use crate::report::tests::report;

    const TABLE: &str = "# Promises\n\n| figure | measured by | must | aim |\n|---|---|---|---|\n\
        | TCP | `tapestry:tcp-x1-1500 / bridge:tcp-x1-1500` | ≥ 0.95 | ≥ 1.1 |\n";

    fn verdict(readings: &[(&str, &[f64])]) -> Verdict {
        judge(parse(TABLE).unwrap(), &report(readings))[0].verdict
    }

    #[test]
    fn a_run_meets_the_aim_the_must_or_neither() {
        assert_eq!(
            verdict(&[("tapestry", &[12.0]), ("bridge", &[10.0])]),
            Verdict::Aim
        );
        assert_eq!(
            verdict(&[("tapestry", &[10.0]), ("bridge", &[10.0])]),
            Verdict::Pass
        );
        assert_eq!(
            verdict(&[("tapestry", &[9.0]), ("bridge", &[10.0])]),
            Verdict::Short
        );
        assert_eq!(verdict(&[("tapestry", &[9.0])]), Verdict::Unmeasured);
    }

    #[test]
    fn mistakes_in_the_table_are_refused() {
        let with = |from: &str, to: &str| parse(&TABLE.replace(from, to)).unwrap_err().what;
        assert_eq!(with("≥ 0.95", "0.95"), "not a bound");
        assert_eq!(with(" | ≥ 1.1", ""), "not four cells");
        assert_eq!(with("bridge:tcp", "tcp"), "not contender:figure");
    }

    #[test]
    fn every_promise_names_contenders_and_figures_that_exist() {
        let promises = parse(SPEC).unwrap();
        assert!(!promises.is_empty());
        let mut known = Vec::new();
        for family in families() {
            for row in &family.rows {
                for metric in row.metrics() {
                    for contender in &family.contenders {
                        known.push((contender.name().to_owned(), metric.figure(&row.name())));
                    }
                }
            }
        }
        for reading in promises
            .iter()
            .flat_map(|promise| promise.measured_by.readings())
        {
            let pair = (reading.contender.clone(), reading.figure.clone());
            assert!(known.contains(&pair), "{pair:?}");
        }
    }
}
