//! Which row runs when, on whom.
//!
//! # Theory of operation
//!
//! Rows of one topology share labs: all contenders stand side by side, idle but for the one that is measured, and each
//! round goes once through all of them: A B C, A B C. So what disturbs the machine for a while disturbs all alike. Rows
//! that need a lab of their own get one for each run, in the same order.
//!
//! A contender that does not start is absent from the topology's rows; one that fails in a row is not tried again in that
//! row. Either way the report has the reason.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::contender::Contender;
use crate::family::Family;
use crate::lab::{Lab, Topology};
use crate::report::{ContenderReport, FamilyReport, RowReport};
use crate::row::{Effort, Row};
use crate::trouble::Trouble;

/// What the command line chose.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) effort: Effort,
    pub(crate) is_quick: bool,
    pub(crate) rounds: usize,
    /// Rows' names, or parts of them; empty for all.
    pub(crate) rows: Vec<String>,
    /// Contenders' names; empty for all.
    pub(crate) contenders: Vec<String>,
}

impl Plan {
    fn wants(&self, row: &dyn Row, family: &Family) -> bool {
        if self.rows.is_empty() {
            return !self.is_quick || row.is_quick();
        }
        let name = row.name();
        self.rows
            .iter()
            .any(|pattern| name == *pattern || (!family.has(pattern) && name.contains(pattern)))
    }

    fn compares(&self, contender: &dyn Contender, family: &Family) -> bool {
        self.contenders.is_empty()
            || family.contenders.len() == 1
            || self.contenders.iter().any(|name| name == contender.name())
    }

    fn rounds_of(&self, row: &dyn Row) -> usize {
        self.rounds.min(row.rounds_max())
    }
}

/// Runs the family's wanted rows; `None` where none is wanted. After an interruption the report has those that were finished.
pub(crate) fn run(family: &Family, plan: &Plan) -> Result<Option<FamilyReport>, Trouble> {
    let rows: Vec<&dyn Row> = family
        .rows
        .iter()
        .map(AsRef::as_ref)
        .filter(|row| plan.wants(*row, family))
        .collect();
    let contenders: Vec<&dyn Contender> = family
        .contenders
        .iter()
        .map(AsRef::as_ref)
        .filter(|contender| plan.compares(*contender, family))
        .collect();
    if rows.is_empty() || contenders.is_empty() {
        return Ok(None);
    }
    let entering = |row: &dyn Row| {
        contenders
            .iter()
            .filter(|one| one.enters(&row.name()))
            .count()
    };
    let steps = rows.iter().map(|row| plan.rounds_of(*row) * entering(*row));
    let mut session = Session {
        plan,
        progress: progress(steps.sum()),
        report: FamilyReport::new(family.name, family.baseline, &contenders),
        contenders,
    };
    for (topology, rows) in by_topology(&rows) {
        let outcome = if topology.fresh {
            session.run_fresh(&topology, &rows)
        } else {
            session.run_shared(&topology, &rows)
        };
        match outcome {
            // The rows that were finished are worth a report.
            Err(Trouble::Interrupted) => break,
            outcome => outcome?,
        }
    }
    session.progress.finish_and_clear();
    Ok(Some(session.report))
}

struct Session<'f> {
    plan: &'f Plan,
    contenders: Vec<&'f dyn Contender>,
    report: FamilyReport,
    progress: ProgressBar,
}

impl Session<'_> {
    fn run_shared(&mut self, topology: &Topology, rows: &[&dyn Row]) -> Result<(), Trouble> {
        let mut labs = Vec::new();
        let enters =
            |contender: &&dyn Contender| rows.iter().any(|row| contender.enters(&row.name()));
        let contenders: Vec<_> = self.contenders.iter().copied().filter(enters).collect();
        for contender in contenders.iter().copied() {
            self.progress
                .set_message(format!("starting {}", contender.name()));
            labs.push(self.start(contender, topology)?);
        }
        for row in rows {
            let mut report = RowReport::new(*row);
            for round in 1..=self.plan.rounds_of(*row) {
                for (contender, lab) in contenders.iter().copied().zip(&mut labs) {
                    if !contender.enters(&row.name()) {
                        continue;
                    }
                    self.announce(*row, contender, round);
                    match lab {
                        Ok(lab) => self.measure(*row, contender, lab, &mut report)?,
                        Err(reason) => report.set_absent(contender.name(), reason),
                    }
                    self.progress.inc(1);
                }
            }
            self.report.rows.push(report);
        }
        Ok(())
    }

    fn run_fresh(&mut self, topology: &Topology, rows: &[&dyn Row]) -> Result<(), Trouble> {
        for row in rows {
            let mut report = RowReport::new(*row);
            for round in 1..=self.plan.rounds_of(*row) {
                for contender in self.contenders.clone() {
                    if !contender.enters(&row.name()) {
                        continue;
                    }
                    self.announce(*row, contender, round);
                    if !report.is_absent(contender.name()) {
                        match self.start(contender, topology)? {
                            Ok(mut lab) => self.measure(*row, contender, &mut lab, &mut report)?,
                            Err(reason) => report.set_absent(contender.name(), &reason),
                        }
                    }
                    self.progress.inc(1);
                }
            }
            self.report.rows.push(report);
        }
        Ok(())
    }

    /// A lab, or why there is none. An interruption ends everything.
    fn start(
        &mut self,
        contender: &dyn Contender,
        topology: &Topology,
    ) -> Result<Result<Lab, String>, Trouble> {
        let started = Lab::start(contender, topology);
        match started {
            Ok(lab) => {
                self.report.describe(contender.name(), lab.describe());
                Ok(Ok(lab))
            }
            Err(Trouble::Interrupted) => Err(Trouble::Interrupted),
            Err(reason) => Ok(Err(reason.to_string())),
        }
    }

    fn measure(
        &self,
        row: &dyn Row,
        contender: &dyn Contender,
        lab: &mut Lab,
        report: &mut RowReport,
    ) -> Result<(), Trouble> {
        if report.is_absent(contender.name()) {
            return Ok(());
        }
        match lab.metered(|lab| row.run(lab, &self.plan.effort)) {
            Ok((readings, cost)) => {
                report.add(contender.name(), &readings, cost);
                Ok(())
            }
            Err(Trouble::Interrupted) => Err(Trouble::Interrupted),
            Err(reason) => {
                report.set_absent(contender.name(), &reason.to_string());
                Ok(())
            }
        }
    }

    fn announce(&self, row: &dyn Row, contender: &dyn Contender, round: usize) {
        let rounds = self.plan.rounds_of(row);
        self.progress.set_message(format!(
            "{} · {} · round {round} of {rounds}",
            row.name(),
            contender.name()
        ));
    }
}

/// Rows with the topology they share, in the order each topology first appears.
fn by_topology<'r>(rows: &[&'r dyn Row]) -> Vec<(Topology, Vec<&'r dyn Row>)> {
    let mut groups: Vec<(Topology, Vec<&dyn Row>)> = Vec::new();
    for row in rows {
        let topology = row.topology();
        match groups.iter_mut().find(|(known, _)| *known == topology) {
            Some((_, group)) => group.push(*row),
            None => groups.push((topology, vec![*row])),
        }
    }
    groups
}

fn progress(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(0));
    if let Ok(style) =
        ProgressStyle::with_template("{bar:24} {pos:>4}/{len} {elapsed_precise}  {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

impl FamilyReport {
    fn new(name: &str, baseline: Option<&str>, contenders: &[&dyn Contender]) -> Self {
        Self {
            name: name.to_owned(),
            baseline: baseline.map(str::to_owned),
            contenders: contenders
                .iter()
                .map(|contender| ContenderReport {
                    name: contender.name().to_owned(),
                    description: None,
                })
                .collect(),
            rows: Vec::new(),
        }
    }
}

impl RowReport {
    fn new(row: &dyn Row) -> Self {
        Self {
            name: row.name(),
            what: row.what(),
            figures: row
                .metrics()
                .iter()
                .map(|metric| crate::report::Figure {
                    name: metric.figure(&row.name()),
                    unit: metric.unit.to_owned(),
                    better: metric.better,
                    readings: BTreeMap::new(),
                })
                .collect(),
            costs: BTreeMap::new(),
            absent: BTreeMap::new(),
        }
    }
}
