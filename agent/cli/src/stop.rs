//! `tapestry stop`: end containers, gently first.

use agent_api::{Client, Stop};

use crate::failure::{Failure, for_each_name};
use crate::output;

/// Stop containers: SIGTERM, and SIGKILL some seconds later
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds to wait before SIGKILL; 10 where absent
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Names or ids of containers
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let stop = Stop {
        timeout_s: args.timeout,
    };
    for_each_name(&args.names, async |name| {
        client.stop_container(name, &stop).await?;
        output::print(&format!("{name}\n"))
    })
    .await
}
