//! `tapestry doctor`: what on this host helps or hinders the agent, and what to do about it.

mod agent;
mod check;
mod cluster;
mod firewall;
mod host;
mod kernel;
mod network;
mod paths;
mod uplinks;

use agent_api::Client;
use agent_daemon::probe;

use crate::failure::Failure;
use crate::output;
use check::Level;
use host::Host;

/// Check this host: what the agent needs, what it would like, what gets in its way
///
/// A line for each check: ok, warn or fail, what was found, and what to do. The exit status is 1 if a check fails. Run it
/// as the user that the agent runs as.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let host = Host::here();
    let support = probe::probe();
    let mut checks = vec![
        kernel::version(&host),
        kernel::rights(),
        kernel::tun(&host),
        kernel::offloads(&support.offload),
        kernel::io_uring(&host, &support.uring),
        kernel::open_files(),
    ];
    checks.extend(kernel::idle_cores(&host));
    checks.extend(network::checks(&host));
    checks.extend(firewall::checks(&host));
    checks.extend(agent::checks(client, &host).await);
    checks.extend(cluster::checks(client).await);
    checks.extend(paths::checks(client).await);
    checks.extend(uplinks::checks(client).await);
    let text = if args.json {
        output::json(&checks)
    } else {
        checks.iter().map(|check| format!("{check}\n")).collect()
    };
    output::print(&text)?;
    let failed = checks.iter().any(|check| check.level == Level::Fail);
    Ok(u8::from(failed))
}
