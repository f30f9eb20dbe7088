//! `tapestry network`: make networks, look at them, attach containers to them.

mod create;
mod graph;
mod list;

use std::io::{self, BufRead};
use std::net::Ipv6Addr;

use agent_api::{
    Client, Connect, Disconnect, EndpointSettings, LinkSettings, PatchCreate, PortSettings,
};

use crate::arguments::Ip;
use crate::attachment::Vlans;
use crate::failure::{Failure, for_each_name};
use crate::rate::Rates;
use crate::{inspect, output};

/// Make, show and remove networks
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Create(create::Create),
    Ls(list::Ls),
    Inspect(inspect::NetworkArgs),
    Rm(Rm),
    Connect(ConnectArgs),
    Disconnect(DisconnectArgs),
    /// Join two networks of this host to one segment
    Patch(Pair),
    /// Part two networks that were joined
    Unpatch(Pair),
    Graph(graph::Graph),
    Prune(Prune),
}

/// Remove networks
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Say nothing of networks that are not there
    #[arg(short, long)]
    force: bool,
    /// Names or ids of networks
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Attach a running container to a network
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Its IPv4 address on the network; `dhcp`: as the DHCP server of the LAN has it
    #[arg(long, value_name = "ADDRESS|dhcp")]
    ip: Option<Ip>,
    /// Its IPv6 address on the network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// Its MAC address on the network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    #[command(flatten)]
    vlans: Vlans,
    /// Another name for it on the network; may be repeated
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// How the switch treats its port there, as in locked=on or learn_limit=8; the words of port set; may be repeated
    #[arg(long, value_name = "SETTING")]
    port_option: Vec<PortSettings>,
    #[command(flatten)]
    rates: Rates,
    /// The network's name or id
    network: String,
    /// The container's name or id
    container: String,
}

/// Detach a container from a network
#[derive(Debug, clap::Args)]
pub(crate) struct DisconnectArgs {
    /// Take off what is on the network by that name, be it no container of this agent
    #[arg(short, long)]
    force: bool,
    /// The network's name or id
    network: String,
    /// The container's name or id
    container: String,
}

// Not a doc comment: clap would show it as the text of each command.
#[derive(Debug, clap::Args)]
pub(crate) struct Pair {
    /// The name or id of one network
    network: String,
    /// The name or id of the other one
    other: String,
}

/// Remove all networks that no container uses
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Do not ask first
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Create(args) => create::create(args, client).await,
        Verb::Ls(args) => list::list(&args, client).await,
        Verb::Inspect(args) => inspect::networks(&args, client).await,
        Verb::Rm(args) => remove(&args, client).await,
        Verb::Connect(args) => connect(args, client).await,
        Verb::Disconnect(args) => disconnect(args, client).await,
        Verb::Patch(pair) => patch(pair, client).await,
        Verb::Unpatch(pair) => unpatch(&pair, client).await,
        Verb::Graph(args) => graph::run(args, client).await,
        Verb::Prune(args) => prune(&args, client).await,
    }
}

async fn remove(args: &Rm, client: &Client) -> Result<u8, Failure> {
    for_each_name(&args.names, async |name| {
        match client.remove_network(name).await {
            Err(error) if args.force && error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => output::print(&format!("{name}\n")),
        }
    })
    .await
}

async fn connect(args: ConnectArgs, client: &Client) -> Result<u8, Failure> {
    let connect = Connect {
        container: args.container,
        settings: EndpointSettings {
            ip: args.ip.and_then(Ip::address),
            lease: args.ip == Some(Ip::Dhcp),
            ip6: args.ip6,
            mac: args.mac_address,
            vlan: args.vlans.vlan,
            trunk: args.vlans.trunk,
            aliases: args.alias,
            port_settings: PortSettings::of(&args.port_option),
            rates: args.rates.settings(),
            ..EndpointSettings::default()
        },
    };
    client.connect(&args.network, &connect).await?;
    Ok(0)
}

async fn disconnect(args: DisconnectArgs, client: &Client) -> Result<u8, Failure> {
    let disconnect = Disconnect {
        container: args.container,
    };
    match client.disconnect(&args.network, &disconnect).await {
        Err(error) if args.force && error.is_not_found() => {
            let network = client.network(&args.network).await?;
            let mut endpoints = network.endpoints.iter();
            let named = endpoints.find(|endpoint| endpoint.name == disconnect.container);
            let endpoint = named.ok_or(error)?;
            client.remove_endpoint(&endpoint.id).await?;
        }
        outcome => outcome?,
    }
    Ok(0)
}

async fn patch(pair: Pair, client: &Client) -> Result<u8, Failure> {
    let patch = PatchCreate {
        network: pair.other,
        impairments: LinkSettings::default(),
    };
    client.patch_networks(&pair.network, &patch).await?;
    Ok(0)
}

async fn unpatch(pair: &Pair, client: &Client) -> Result<u8, Failure> {
    client.unpatch_networks(&pair.network, &pair.other).await?;
    Ok(0)
}

async fn prune(args: &Prune, client: &Client) -> Result<u8, Failure> {
    if !args.force {
        output::print(PRUNE_QUESTION)?;
        if !says_yes(io::stdin().lock()) {
            return Err(Failure::said(
                "nothing was removed; answer y, or use: tapestry network prune --force",
            ));
        }
    }
    let pruned = client.prune_networks().await?;
    if !pruned.networks.is_empty() {
        let names = pruned.networks.join("\n");
        output::print(&format!("Deleted Networks:\n{names}\n"))?;
    }
    match pruned.failed.as_slice() {
        [] => Ok(0),
        failed => {
            let lines: Vec<_> = failed.iter().map(|left| left.why.as_str()).collect();
            Err(Failure::said(lines.join("\n")))
        }
    }
}

/// No answer, as where nobody is there to ask, is a no.
fn says_yes(mut answers: impl BufRead) -> bool {
    let mut answer = String::new();
    let read = answers.read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

const PRUNE_QUESTION: &str = "WARNING! This will remove all networks not used by at least one container.\n\
                              Are you sure you want to continue? [y/N] ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(says_yes(&b"y\n"[..]));
        assert!(says_yes(&b" Y \n"[..]));
        for no in [&b""[..], b"\n", b"n\n", b"yep\n"] {
            assert!(!says_yes(no));
        }
    }
}
