//! `tapestry inspect`: everything the agent knows about a container or a network, as JSON.

use agent_api::{Client, ClientError, ContainerDetail, NetworkDetail};
use serde::Serialize;

use crate::failure::{Failure, for_each_name};
use crate::output;

/// Show all about containers, or else networks, as a JSON array
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JSON is what inspect prints anyway
    #[arg(long)]
    json: bool,
    /// Names or ids of containers, else of networks
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Show all about networks as a JSON array
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkArgs {
    /// JSON is what inspect prints anyway
    #[arg(long)]
    json: bool,
    /// Names or ids of networks
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// One thing inspected, printed as the API tells it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Detail {
    Container(Box<ContainerDetail>),
    Network(Box<NetworkDetail>),
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    show(&args.names, async |name| {
        container_or_network(client, name).await
    })
    .await
}

pub(crate) async fn networks(args: &NetworkArgs, client: &Client) -> Result<u8, Failure> {
    show(&args.names, async |name| network(client, name).await).await
}

/// Prints an array of all that was found, after telling what was not.
async fn show<F>(names: &[String], mut find: F) -> Result<u8, Failure>
where
    F: AsyncFnMut(&str) -> Result<Detail, Failure>,
{
    let mut found = Vec::with_capacity(names.len());
    let code = for_each_name(names, async |name| {
        found.push(find(name).await?);
        Ok(())
    })
    .await?;
    output::print(&output::json(&found))?;
    Ok(code)
}

async fn container_or_network(client: &Client, name: &str) -> Result<Detail, Failure> {
    let missing = match client.container(name).await {
        Ok(detail) => return Ok(Detail::Container(Box::new(detail))),
        Err(error) if error.is_not_found() => error,
        Err(error) => return Err(error.into()),
    };
    match network(client, name).await {
        Err(Failure::Agent(error)) if error.is_not_found() => Err(neither(name, &missing)),
        outcome => outcome,
    }
}

fn neither(name: &str, missing: &ClientError) -> Failure {
    Failure::said(format!(
        "{missing}; no network is called {name} either; see: tapestry ps -a, tapestry network ls"
    ))
}

async fn network(client: &Client, name: &str) -> Result<Detail, Failure> {
    Ok(Detail::Network(Box::new(client.network(name).await?)))
}
