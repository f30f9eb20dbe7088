//! `tapestry rm`: forget containers.

use agent_api::Client;

use crate::failure::{Failure, for_each_name};
use crate::output;

/// Remove containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kill those that still run
    #[arg(short, long)]
    force: bool,
    /// Names or ids of containers
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    for_each_name(&args.names, async |name| {
        client.remove_container(name, args.force).await?;
        output::print(&format!("{name}\n"))
    })
    .await
}
