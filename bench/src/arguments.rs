//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::row::Effort;
use crate::schedule::Plan;
use crate::tools::Tool;

/// Compares Tapestry with the kernel bridge, Open vSwitch, VDE and name servers, side by side in network namespaces of its
/// own.
#[derive(Debug, Parser)]
#[command(name = "tapestry-bench", version)]
pub(crate) struct Arguments {
    /// Fewer rows, shorter runs, three rounds: less than five minutes.
    #[arg(long)]
    quick: bool,
    /// Only this family; may be repeated.
    #[arg(long = "family", value_name = "NAME")]
    pub(crate) families: Vec<String>,
    /// Only the row of this name, or rows whose name contains this; may be repeated.
    #[arg(long = "row", value_name = "PATTERN")]
    rows: Vec<String>,
    /// Only this contender; may be repeated.
    #[arg(long = "contender", value_name = "NAME")]
    contenders: Vec<String>,
    /// How often each contender is measured [default: 5, quick 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Write everything measured to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a page with plots to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Compare with bench/SPEC.md; status 1 if a measured figure falls short.
    #[arg(long)]
    pub(crate) check: bool,
    /// Measure nothing: report what an earlier run wrote with --json.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// List families, contenders and rows.
    #[arg(long)]
    pub(crate) list: bool,
    #[command(subcommand)]
    pub(crate) tool: Option<Hidden>,
}

/// What the bench calls itself for.
#[derive(Debug, Subcommand)]
pub(crate) enum Hidden {
    /// A traffic tool.
    #[command(hide = true, subcommand)]
    Tool(Tool),
}

impl Arguments {
    pub(crate) fn plan(&self) -> Plan {
        let rounds = self.rounds.unwrap_or(if self.quick { 3 } else { 5 });
        Plan {
            effort: if self.quick {
                Effort::QUICK
            } else {
                Effort::FULL
            },
            is_quick: self.quick,
            rounds: rounds.into(),
            rows: self.rows.clone(),
            contenders: self.contenders.clone(),
        }
    }

    pub(crate) fn wants_family(&self, name: &str) -> bool {
        self.families.is_empty() || self.families.iter().any(|wanted| wanted == name)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
