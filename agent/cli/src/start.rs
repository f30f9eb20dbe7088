//! `tapestry start` and `tapestry restart`: containers that ended, again.

use agent_api::Client;

use crate::failure::{Failure, for_each_name};
use crate::output;
use crate::stop::stop;

/// Start containers that have ended, as they were made
///
/// The command runs anew with the same options, on the networks that it was on, and its log goes on.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids of containers
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Stop containers and start them again
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    /// Seconds to wait before SIGKILL; 10 where absent
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Names or ids of containers
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    for_each_name(&args.names, async |name| {
        client.start_container(name).await?;
        output::print(&format!("{name}\n"))
    })
    .await
}

pub(crate) async fn restart(args: RestartArgs, client: &Client) -> Result<u8, Failure> {
    for_each_name(&args.names, async |name| {
        stop(name, args.timeout, client).await?;
        client.start_container(name).await?;
        output::print(&format!("{name}\n"))
    })
    .await
}
