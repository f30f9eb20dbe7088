//! `tapestry-bench`: Tapestry beside its peers, measured.

mod arguments;
mod asker;
mod command;
mod contender;
mod counters;
mod dnsperf;
mod family;
mod interrupt;
mod iperf3;
mod lab;
mod machine;
mod names;
mod netns;
mod page;
mod process;
mod report;
mod row;
mod schedule;
mod search;
mod spec;
mod statistics;
mod tools;
mod traffic;
mod traffic_process;
mod trouble;

use std::fs;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use clap::Parser;

use crate::arguments::{Arguments, Hidden};
use crate::family::{Family, families};
use crate::machine::Machine;
use crate::page::page;
use crate::report::{Report, number, table};
use crate::spec::{Judged, Verdict, judge};
use crate::trouble::Trouble;

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let outcome = match arguments.tool.take() {
        Some(Hidden::Tool(tool)) => tool.run().map(|()| true).map_err(Into::into),
        None => run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tapestry-bench: {error:#}");
            let interrupted = matches!(error.downcast_ref(), Some(Trouble::Interrupted));
            ExitCode::from(if interrupted { 130 } else { 2 })
        }
    }
}

/// Whether every promise that was measured is kept.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    if arguments.list {
        list(&families());
        return Ok(true);
    }
    let report = match &arguments.from {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
            serde_json::from_str(&text).with_context(|| path.display().to_string())?
        }
        None => measure(arguments)?,
    };
    let judged = judge(spec::parse(spec::SPEC)?, &report);
    print!("{}", table(&report));
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &arguments.html {
        fs::write(path, page(&report, &judged)).with_context(|| path.display().to_string())?;
    }
    if report.interrupted {
        return Err(Trouble::Interrupted.into());
    }
    if arguments.check {
        print_verdicts(&judged);
        return Ok(judged.iter().all(|one| one.verdict != Verdict::Short));
    }
    Ok(true)
}

fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this makes network namespaces: run it as root, for example with `sudo make bench-quick`"
    );
    let plan = arguments.plan();
    let known = families();
    for name in &arguments.families {
        ensure!(
            known.iter().any(|family| family.name == name),
            "no family {name}; `tapestry-bench --list` names them"
        );
    }
    interrupt::watch()?;
    netns::sweep()?;
    let start = Instant::now();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        took_s: 0.0,
        quick: plan.is_quick,
        interrupted: false,
        machine: Machine::read(),
        families: Vec::new(),
    };
    for family in known
        .iter()
        .filter(|family| arguments.wants_family(family.name))
    {
        report.families.extend(schedule::run(family, &plan)?);
        if interrupt::check().is_err() {
            report.interrupted = true;
            break;
        }
    }
    report.families.retain(|family| !family.rows.is_empty());
    report.took_s = start.elapsed().as_secs_f64();
    if report.families.is_empty() {
        interrupt::check()?;
        bail!(
            "nothing to measure: no row or contender has such a name; `tapestry-bench --list` names them"
        );
    }
    Ok(report)
}

fn list(families: &[Family]) {
    for family in families {
        let contenders: Vec<_> = family.contenders.iter().map(|one| one.name()).collect();
        println!("{}: {}", family.name, contenders.join(", "));
        for row in &family.rows {
            let quick = if row.is_quick() { "q" } else { " " };
            println!("  {quick} {:<16} {}", row.name(), row.what());
        }
    }
}

fn print_verdicts(judged: &[Judged]) {
    println!();
    for one in judged {
        let measured = one.measured.map_or("-".to_owned(), number);
        let (must, aim) = (one.promise.must.to_string(), one.promise.aim.to_string());
        let figure = &one.promise.figure;
        println!(
            "{:<14} {measured:>8}  must {must:<7} aim {aim:<7} {figure}",
            one.verdict
        );
    }
}
