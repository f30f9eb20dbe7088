//! `tapestry inspect`: everything the agent knows about a container or a network, as JSON.

use agent_api::{Client, ClientError, ContainerDetail, NetworkDetail};
use serde::Serialize;
use serde_json::Value;

use crate::failure::{Failure, for_each_name};
use crate::format::{self, Format};
use crate::{docker_names, output};

/// Show all about containers, or else networks, as a JSON array
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JSON is what inspect prints anyway
    #[arg(long)]
    json: bool,
    /// Print what a template says, as '{{.NetworkSettings.IPAddress}}', in Docker's names or the API's; or json
    #[arg(short, long, value_name = "TEMPLATE", value_parser = format::format, conflicts_with = "json")]
    format: Option<Format>,
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
    /// Print what a template says, as '{{.NetworkSettings.IPAddress}}', in Docker's names or the API's; or json
    #[arg(short, long, value_name = "TEMPLATE", value_parser = format::format, conflicts_with = "json")]
    format: Option<Format>,
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

impl Detail {
    fn by_dockers_names(&self) -> Value {
        match self {
            Self::Container(detail) => docker_names::container(detail),
            Self::Network(detail) => docker_names::network(detail),
        }
    }
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    show(&args.names, args.format.as_ref(), async |name| {
        container_or_network(client, name).await
    })
    .await
}

pub(crate) async fn networks(args: &NetworkArgs, client: &Client) -> Result<u8, Failure> {
    let format = args.format.as_ref();
    show(&args.names, format, async |name| {
        network(client, name).await
    })
    .await
}

/// Prints an array of all that was found, or what a template says of each, after telling what was not.
async fn show<F>(names: &[String], format: Option<&Format>, mut find: F) -> Result<u8, Failure>
where
    F: AsyncFnMut(&str) -> Result<Detail, Failure>,
{
    let mut found = Vec::with_capacity(names.len());
    let code = for_each_name(names, async |name| {
        found.push(find(name).await?);
        Ok(())
    })
    .await?;
    let values: Vec<_> = found.iter().map(Detail::by_dockers_names).collect();
    let formatted = format.map_or(Ok(None), |format| format.inspected(&values))?;
    output::print(&formatted.unwrap_or_else(|| output::json(&found)))?;
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
    Ok(Detail::Network(Box::new(
        client.network_counted(name).await?,
    )))
}
