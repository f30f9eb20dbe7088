//! `tapestry lab`: labs from containerlab's and Kathara's files.

mod exec;
mod graph;
mod progress;
mod show;
mod up;

use std::path::{Path, PathBuf};

use agent_api::Client;
use clap::ValueHint;
use integration::lab::{self, Lab, Runtime};

use crate::failure::{Failure, complain};
use crate::{output, wait};

/// Bring labs up and down, from files of containerlab or Kathara
///
/// FILE is a *.clab.yml, a lab.conf, or a directory with one of them; the current one where absent. Nodes run on this host's
/// programs, each with files of its own, or under Docker or podman where they have an image; docs/labs.md says which images
/// have a stand-in.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Up(up::Up),
    Down(up::Down),
    Ls(show::Ls),
    Inspect(show::Inspect),
    Exec(exec::Exec),
    Graph(graph::Graph),
    Validate(Validate),
}

/// Which lab.
#[derive(Debug, clap::Args)]
struct File {
    /// The lab's file, or the directory that it is in
    #[arg(value_name = "FILE", default_value = ".", hide_default_value = true, value_hint = ValueHint::AnyPath)]
    file: PathBuf,
}

/// Check a lab's file and make nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    file: File,
}

pub(crate) fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Up(args) => wait(up::up(args, client)),
        Verb::Down(args) => wait(up::down(args, client)),
        Verb::Ls(args) => wait(show::ls(args, client)),
        Verb::Inspect(args) => wait(show::inspect(args, client)),
        Verb::Exec(args) => exec::exec(args, client),
        Verb::Graph(args) => graph::graph(&args),
        Verb::Validate(args) => validate(&args),
    }
}

impl File {
    fn open(&self) -> Result<Lab, Failure> {
        self.open_for(None)
    }

    /// With all images under this engine.
    fn open_for(&self, runtime: Option<Runtime>) -> Result<Lab, Failure> {
        lab::open(&self.file, runtime).map_err(|error| Failure::said(error.to_string()))
    }
}

fn validate(args: &Validate) -> Result<u8, Failure> {
    let mut lab = args.file.open()?;
    if let Some(message) = lacking(&lab) {
        complain(&message);
    }
    if let Err(failure) = wait(settle(&mut lab)) {
        complain(&failure.to_string());
    }
    output::print(&format!("{}\n", counted(&lab)))?;
    Ok(0)
}

/// Which engine runs the lab's images; fails where none is there.
async fn settle(lab: &mut Lab) -> Result<(), Failure> {
    let settled = lab::settle(lab).await;
    settled.map_err(|error| Failure::said(error.to_string()))
}

/// `lab NAME: 3 nodes, 2 links`.
fn counted(lab: &Lab) -> String {
    let many = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    format!(
        "lab {}: {}, {}",
        lab.name,
        many(lab.nodes.len(), "node"),
        many(lab.segments.len(), "link")
    )
}

/// What this host has to install first, in one line.
fn lacking(lab: &Lab) -> Option<String> {
    let missing = lab.missing(&|program| Path::new(program).exists());
    let nodes = missing.values().flatten().copied();
    let nodes: std::collections::BTreeSet<&str> = nodes.collect();
    let packages: Vec<&str> = missing.keys().copied().collect();
    let shown: Vec<&str> = nodes.iter().copied().take(NODES_SHOWN).collect();
    let more = if nodes.len() > NODES_SHOWN {
        ", .."
    } else {
        ""
    };
    (!packages.is_empty()).then(|| {
        format!(
            "this host lacks programs that nodes need ({}{more}); install them: apt-get install {}",
            shown.join(", "),
            packages.join(" ")
        )
    })
}

const NODES_SHOWN: usize = 6;
