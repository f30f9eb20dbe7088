//! `lab up` and `lab down`.

use agent_api::Client;
use integration::lab::{self, Desired, Plan, Runtime};

use super::progress::Line;
use super::{File, counted, lacking, settle, show};
use crate::failure::{Failure, complain};
use crate::output;

/// Bring a lab up, or what runs of it to what its file says
///
/// What is up and as it should be goes on. The exit status is 1 if a command of a node failed; the nodes are up then.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    #[command(flatten)]
    file: File,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Run every node that has an image under docker or podman, also where this host's programs could stand in
    #[arg(long, value_name = "ENGINE", value_parser = runtime)]
    runtime: Option<Runtime>,
}

/// Take a lab away, with all that was made for it
#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    #[command(flatten)]
    file: File,
    /// The lab's name, where its file is gone or changed its name
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    name: Option<String>,
}

pub(super) async fn up(args: Up, client: &Client) -> Result<u8, Failure> {
    let mut lab = args.file.open_for(args.runtime)?;
    if args.dry_run {
        return dry_run(client, &Desired::of(&lab)).await;
    }
    if let Some(message) = lacking(&lab) {
        return Err(Failure::said(message));
    }
    settle(&mut lab).await?;
    let desired = Desired::of(&lab);
    let mut line = Line::new();
    let done = lab::up(client, &desired, |progress| line.show(progress)).await;
    line.end();
    let failed = done.map_err(|error| Failure::said(error.to_string()))?;
    output::print(&format!("{} up\n", counted(&lab)))?;
    show::nodes(client, &lab.name).await?;
    for node in &failed {
        for said in node.said.iter().take(TOLD_MAX) {
            complain(&format!("node {}: {said}", node.node));
        }
        let more = node.said.len().saturating_sub(TOLD_MAX);
        if more > 0 || node.said.is_empty() {
            complain(&format!(
                "node {}: {more} more commands failed; tapestry logs {}",
                node.node, node.container
            ));
        }
    }
    Ok(u8::from(!failed.is_empty()))
}

fn runtime(text: &str) -> Result<Runtime, String> {
    text.parse().map_err(|_| "take docker or podman".to_owned())
}

async fn dry_run(client: &Client, desired: &Desired) -> Result<u8, Failure> {
    let plan = Plan::of(desired, &lab::present(client, &desired.lab).await?);
    let mut text = plan.lines().join("\n");
    if text.is_empty() {
        "nothing to do".clone_into(&mut text);
    }
    output::print(&format!("{text}\n"))?;
    Ok(0)
}

pub(super) async fn down(args: Down, client: &Client) -> Result<u8, Failure> {
    let name = match args.name {
        Some(name) => name,
        None => args.file.open()?.name,
    };
    let mut line = Line::new();
    let done = lab::down(client, &name, |progress| line.show(progress)).await;
    line.end();
    match done.map_err(|error| Failure::said(error.to_string()))? {
        0 => Err(Failure::said(format!(
            "lab {name} is not up; tapestry lab ls lists those that are"
        ))),
        _ => {
            output::print(&format!("lab {name} down\n"))?;
            Ok(0)
        }
    }
}

/// Of one node's failures.
const TOLD_MAX: usize = 3;
