//! The rows of `make chaos`: what was asked for, what was measured, and whether it passed.

use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use super::FULL;
use super::gaps::percentile;

/// A row that waits for its figures.
pub(super) struct Row {
    /// Where it stands in the table.
    place: u8,
    what: String,
    must: &'static str,
    aim: &'static str,
    measured: Vec<String>,
    failures: Vec<String>,
}

impl Row {
    pub(super) fn new(
        place: u8,
        what: impl Display,
        must: &'static str,
        aim: &'static str,
    ) -> Self {
        Self {
            place,
            what: what.to_string(),
            must,
            aim,
            measured: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// A figure, as people read it.
    pub(super) fn figure(&mut self, figure: impl Display) {
        self.measured.push(figure.to_string());
    }

    /// A figure of which nothing may be above `limit` but one in twenty.
    pub(super) fn times(&mut self, what: &str, times: &[Duration], limit: Duration) {
        let [half, most, all] = [50, 95, 100].map(|percent| percentile(times, percent));
        let spread = most.as_secs_f64() / half.as_secs_f64().max(1e-6);
        self.figure(format_args!(
            "{what} p50 {} p95 {} max {} ms, spread {spread:.1}",
            ms(half),
            ms(most),
            ms(all)
        ));
        self.hold(
            most <= limit,
            format_args!("{what}: {most:.1?} is more than {limit:?}"),
        );
    }

    /// A figure of which all have to be there.
    pub(super) fn all(&mut self, what: &str, good: usize, of: usize, others: &[String]) {
        self.figure(format_args!("{good}/{of} {what}"));
        let shown = &others[..others.len().min(SHOWN_MAX)];
        self.hold(
            good == of,
            format_args!("{good} of {of} {what}: {shown:#?}"),
        );
    }

    /// A figure that has to be none.
    pub(super) fn none(&mut self, what: &str, count: usize, which: &[String]) {
        self.figure(format_args!("{count} {what}"));
        let shown = &which[..which.len().min(SHOWN_MAX)];
        self.hold(count == 0, format_args!("{count} {what}: {shown:#?}"));
    }

    /// What makes the row fail where it does not hold.
    pub(super) fn hold(&mut self, holds: bool, complaint: impl Display) {
        if !holds {
            self.failures.push(complaint.to_string());
        }
    }

    /// Writes the row down, and fails the test where the row fails.
    #[track_caller]
    pub(super) fn finish(self) {
        let passed = if self.failures.is_empty() {
            "yes"
        } else {
            "NO"
        };
        let measured = self.measured.join(", ");
        let line = [&self.what, self.must, self.aim, &measured, passed].join("\t");
        println!("{}", line.replace('\t', " | "));
        if *FULL {
            // One write, so that rows of several processes do not mix.
            let line = format!("{:02}\t{line}\n", self.place);
            figures_file().write_all(line.as_bytes()).unwrap();
        }
        let failures = self.failures.join("\n");
        assert!(failures.is_empty(), "{}: {measured}\n{failures}", self.what);
    }
}

/// `target/chaos.tsv`, which `scripts/chaos` shows as a table.
fn figures_file() -> File {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let mut options = File::options();
    options.create(true).append(true);
    options.open(target.join("chaos.tsv")).unwrap()
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

const SHOWN_MAX: usize = 20;
