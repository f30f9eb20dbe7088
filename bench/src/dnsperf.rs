//! dnsperf: questions from inside a station, and what came of them.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::command::require;
use crate::contender::gateway;
use crate::lab::{Lab, Station};
use crate::names::{FOREIGN_NAMES, LOCAL_NAMES, foreign_name, local_name};
use crate::statistics::{percentile, sorted};
use crate::traffic_process::{End, TrafficProcess};
use crate::trouble::Trouble;

/// Names that a question may be about: all of one kind, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Of the station [`NAMES_STATION`](crate::names::NAMES_STATION).
    Local,
    /// Of the upstream server.
    Foreign,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) names: Names,
    /// Questions a second; as many as are answered where absent.
    pub(crate) rate: Option<f64>,
    pub(crate) seconds: f64,
    /// Whether the latency of each question is wanted, which costs dnsperf time.
    pub(crate) timed: bool,
}

/// What came of it. All that was answered was answered with a yes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answers {
    /// Answers a second.
    pub(crate) rate: f64,
    pub(crate) lost: f64,
    /// Where they were wanted.
    pub(crate) latencies_us: Vec<f64>,
}

/// A run that goes on.
pub(crate) struct Asking<'l> {
    program: TrafficProcess<'l>,
    seconds: f64,
    _questions: NamedTempFile,
}

impl Load {
    pub(crate) fn run(&self, lab: &Lab, from: &Station) -> Result<Answers, Trouble> {
        self.start(lab, from)?.finish()
    }

    /// Asks the gateway of `from`, as [`CLIENTS`] programs with [`OUTSTANDING`] questions open together.
    pub(crate) fn start<'l>(&self, lab: &'l Lab, from: &Station) -> Result<Asking<'l>, Trouble> {
        require("dnsperf")?;
        let mut questions = NamedTempFile::new().map_err(Trouble::io("no scratch file"))?;
        questions
            .write_all(self.names.questions().as_bytes())
            .map_err(Trouble::io("cannot write a scratch file"))?;
        let mut command = Command::new("dnsperf");
        command.args([
            "-s",
            &gateway().to_string(),
            "-c",
            CLIENTS,
            "-q",
            OUTSTANDING,
        ]);
        command.arg("-d").arg(questions.path());
        command.args(["-l", &self.seconds.to_string()]);
        if let Some(rate) = self.rate {
            command.args(["-Q", &rate.round().to_string()]);
        }
        if self.timed {
            command.arg("-v");
        }
        Ok(Asking {
            program: lab.program(End::Sender, from, &mut command)?,
            seconds: self.seconds,
            _questions: questions,
        })
    }
}

impl Asking<'_> {
    pub(crate) fn finish(self) -> Result<Answers, Trouble> {
        let limit = Duration::from_secs_f64(self.seconds) + PATIENCE;
        parse(&self.program.output(limit)?)
    }
}

impl Answers {
    /// Not a number where no latencies were wanted.
    pub(crate) fn percentile_us(&self, percent: f64) -> f64 {
        percentile(&sorted(&self.latencies_us), percent).unwrap_or(f64::NAN)
    }
}

impl Names {
    /// A file of questions as dnsperf reads it.
    fn questions(self) -> String {
        let name: fn(usize) -> String = match self {
            Self::Local => local_name,
            Self::Foreign => foreign_name,
        };
        let count = match self {
            Self::Local => LOCAL_NAMES,
            Self::Foreign => FOREIGN_NAMES,
        };
        (0..count).map(|index| name(index) + " A\n").collect()
    }
}

/// Reads dnsperf's report, and the lines a question before it: `> NOERROR n0 A 0.000123`.
fn parse(report: &str) -> Result<Answers, Trouble> {
    let failed = |reason: &str| Trouble::Tool {
        tool: "dnsperf".to_owned(),
        reason: reason.to_owned(),
    };
    let value = |key: &str| {
        let mut lines = report.lines().map(str::trim);
        let rest = lines.find_map(|line| line.strip_prefix(key)).map(str::trim);
        rest.ok_or_else(|| failed(&format!("no {key:?} in its report")))
    };
    let number = |key: &str| {
        let first = value(key)?.split_whitespace().next();
        first
            .and_then(|word| word.parse::<f64>().ok())
            .ok_or_else(|| failed(&format!("no number after {key:?}")))
    };
    let codes = value("Response codes:")?;
    if !codes.starts_with("NOERROR") || codes.contains(',') {
        return Err(failed(&format!("answered {codes}")));
    }
    let latencies = report
        .lines()
        .filter_map(|line| line.strip_prefix("> NOERROR ")?.rsplit_once(' '));
    Ok(Answers {
        rate: number("Queries per second:")?,
        lost: number("Queries lost:")?,
        latencies_us: latencies
            .filter_map(|(_, seconds)| Some(seconds.parse::<f64>().ok()? * 1e6))
            .collect(),
    })
}

const CLIENTS: &str = "10";
const OUTSTANDING: &str = "100";
/// dnsperf waits five seconds for what is lost.
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "> NOERROR n0 A 0.000120\n> NOERROR n1 A 0.000280\n> T n2 A\nStatistics:\n\n  \
        Queries sent:         3\n  Queries completed:    2 (66.67%)\n  Queries lost:         1 (33.33%)\n\n  \
        Response codes:       NOERROR 2 (100.00%)\n  Average packet size:  request 20, response 36\n  \
        Queries per second:   51234.500000\n";

    #[test]
    fn rate_losses_and_latencies_are_read() {
        let answers = parse(REPORT).unwrap();
        assert_eq!((answers.rate, answers.lost), (51234.5, 1.0));
        let [first, second] = answers.latencies_us.as_slice() else {
            panic!("{answers:?}");
        };
        assert!((first - 120.0).abs() < 1e-6 && (second - 280.0).abs() < 1e-6);
    }

    #[test]
    fn an_answer_that_says_no_is_a_failure() {
        let report = REPORT.replace("2 (100.00%)", "1 (50.00%), NXDOMAIN 1 (50.00%)");
        let error = parse(&report).unwrap_err().to_string();
        assert!(error.contains("NXDOMAIN"), "{error}");
    }
}
