//! `tapestry network`: make networks, look at them, attach containers to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_api::{
    Client, Connect, Disconnect, DnsServer, Driver, EndpointSettings, NetworkCreate,
    NetworkSummary, PatchCreate,
};
use ipnet::IpNet;

use crate::failure::{Failure, for_each_name};
use crate::filter::{self, Filters};
use crate::format::{self, Format, Row};
use crate::{arguments, inspect, output};

/// Make, show and remove networks
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Create(Create),
    Ls(Ls),
    Inspect(inspect::NetworkArgs),
    Rm(Rm),
    Connect(ConnectArgs),
    Disconnect(DisconnectArgs),
    /// Join two networks of this host to one segment
    Patch(Pair),
    /// Part two networks that were joined
    Unpatch(Pair),
    Prune(Prune),
}

/// Create a network and print its id
///
/// Options of names: -o dns.record=NAME=ADDRESS (a name of the network's own; may be repeated), -o dns.rebind=block (no
/// answers from outside that point into private networks).
///
/// Options of the forwarding table: -o fdb.ageing=SECONDS (how long an address is remembered that does not send; 300),
/// -o fdb.learning=false (what nobody registered is sent to everybody).
///
/// Options for labs: -o transparent=true (pass STP, LACP and LLDP on), -o guard=loose (routers with one arm), -o
/// dhcp=container|off (a server of your own, or none), -o ra=allow (router advertisements), -o bum=N|off (broadcasts a
/// second).
///
/// Options of the overlay driver: -o encap=quic|vxlan, -o vni=N, -o remote=IP[,IP] (VXLAN to fixed hosts, without a
/// cluster).
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Who carries its frames: bridge (this host) or overlay (many hosts)
    #[arg(
        short,
        long,
        value_name = "DRIVER",
        default_value = "bridge",
        value_parser = driver
    )]
    driver: Driver,
    /// Its addresses; once for IPv4, once for IPv6; a free default pool where absent; IPv6 alone makes it IPv6 only; none makes
    /// it a wire without addresses
    #[arg(long, value_name = "CIDR|none", value_parser = subnet)]
    subnet: Vec<Subnet>,
    /// The gateway's address; the subnet's first where absent; once per subnet
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Give containers addresses from this part of the subnet only
    #[arg(long, value_name = "CIDR", value_parser = arguments::subnet)]
    ip_range: Option<IpNet>,
    /// An address that no container gets, because somebody else has it; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = arguments::aux_address)]
    aux_address: Vec<(String, IpAddr)>,
    /// Give it an IPv6 subnet too
    #[arg(long)]
    ipv6: bool,
    /// Take subnets that this host reaches another way, and cut it off there
    #[arg(long)]
    force: bool,
    /// No way out and no way in
    #[arg(long)]
    internal: bool,
    /// Let containers attach to it, as they may to every network
    #[arg(long = "attachable")]
    _attachable: bool,
    /// The largest IP packet in bytes
    #[arg(long, value_name = "N", value_parser = arguments::mtu)]
    mtu: Option<u16>,
    /// A server for names outside the network, encrypted as in tls://1.1.1.1#one.one.one.one, https:// or quic://; the
    /// host's where absent; may be repeated
    #[arg(long, value_name = "SERVER")]
    dns: Vec<DnsServer>,
    /// An option of the driver; may be repeated
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = arguments::key_value)]
    opt: Vec<(String, String)>,
    /// A label to find it by; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::key_value)]
    label: Vec<(String, String)>,
    /// The network's name
    name: String,
}

/// What `--subnet` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subnet {
    Net(IpNet),
    None,
}

fn subnet(text: &str) -> Result<Subnet, String> {
    match text {
        "none" => Ok(Subnet::None),
        net => arguments::subnet(net).map(Subnet::Net),
    }
}

/// List networks
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// Print ids only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Only those that fit: id=, name=, driver=, scope=, type=custom|builtin, dangling=true|false (whether nobody is on it),
    /// label=KEY[=VALUE]; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::filter)]
    filter: Vec<(String, String)>,
    /// Print what a template says of each, as '{{.ID}}'; or json, table, 'table {{.ID}}\t{{.Name}}'
    #[arg(long, value_name = "TEMPLATE", value_parser = format::format, conflicts_with_all = ["json", "quiet"])]
    format: Option<Format>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Remove networks
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Names or ids of networks
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Attach a running container to a network
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Its IPv4 address on the network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Its IPv6 address on the network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// Its MAC address on the network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    /// Another name for it on the network; may be repeated
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
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
        Verb::Create(args) => create(args, client).await,
        Verb::Ls(args) => list(&args, client).await,
        Verb::Inspect(args) => inspect::networks(&args, client).await,
        Verb::Rm(args) => remove(&args, client).await,
        Verb::Connect(args) => connect(args, client).await,
        Verb::Disconnect(args) => disconnect(args, client).await,
        Verb::Patch(pair) => patch(pair, client).await,
        Verb::Unpatch(pair) => unpatch(&pair, client).await,
        Verb::Prune(args) => prune(&args, client).await,
    }
}

async fn create(args: Create, client: &Client) -> Result<u8, Failure> {
    let subnets = args.subnet.iter().filter_map(|subnet| match subnet {
        Subnet::Net(net) => Some(*net),
        Subnet::None => None,
    });
    let request = NetworkCreate {
        id: None,
        name: args.name,
        driver: args.driver,
        subnets: subnets.collect(),
        without_addresses: args.subnet.contains(&Subnet::None),
        gateways: args.gateway,
        ip_range: args.ip_range,
        aux_addresses: args.aux_address.into_iter().collect(),
        ipv6: args.ipv6,
        force: args.force,
        internal: args.internal,
        mtu: args.mtu,
        dns: args.dns,
        options: options(args.opt),
        labels: args.label.into_iter().collect(),
    };
    let created = client.create_network(&request).await?;
    output::print(&format!("{}\n", created.id))?;
    Ok(0)
}

async fn list(args: &Ls, client: &Client) -> Result<u8, Failure> {
    let filters = Filters::new(args.filter.clone(), &FILTERS).map_err(Failure::usage)?;
    check_filters(&filters).map_err(Failure::usage)?;
    let mut networks = client.networks().await?;
    let used = match filters.has("dangling") {
        true => client.endpoints().await?,
        false => Vec::new(),
    };
    let used: BTreeSet<_> = used.into_iter().map(|endpoint| endpoint.network).collect();
    networks.retain(|network| fits(&filters, network, &used));
    let formatted = match &args.format {
        Some(format) => {
            let rows = networks.iter().map(|network| row(args, network));
            format.list(&rows.collect::<Vec<_>>(), &HEADERS)?
        }
        None => None,
    };
    let is_table = !args.json && !args.quiet && formatted.is_none();
    output::print(&formatted.unwrap_or_else(|| listing(args, &networks)))?;
    if is_table {
        for network in &networks {
            if let Some(why) = &network.no_way_out {
                eprintln!("network {:?} has no way out: {why}", network.name);
            }
        }
    }
    Ok(0)
}

fn check_filters(filters: &Filters) -> Result<(), String> {
    for (key, values) in [
        ("type", ["custom", "builtin"]),
        ("dangling", ["true", "false"]),
    ] {
        let is_known = |value: &str| values.contains(&value);
        if let Some(wrong) = filters.values(key).find(|value| !is_known(value)) {
            return Err(format!(
                "the filter {key}={wrong} is unknown; write {key}={} or {key}={}",
                values[0], values[1]
            ));
        }
    }
    Ok(())
}

/// `used` are the names of networks that something is on.
fn fits(filters: &Filters, network: &NetworkSummary, used: &BTreeSet<String>) -> bool {
    let is_builtin = PREDEFINED.contains(&network.name.as_str());
    let is_dangling = !is_builtin && !used.contains(&network.name);
    filters.accept("type", |kind| (kind == "builtin") == is_builtin)
        && filters.accept("dangling", |value| (value == "true") == is_dangling)
        && fits_by_summary(filters, network)
}

fn fits_by_summary(filters: &Filters, network: &NetworkSummary) -> bool {
    filters.accept("id", |id| network.id.starts_with(id))
        && filters.accept("name", |name| network.name.contains(name))
        && filters.accept("driver", |driver| output::word(network.driver) == driver)
        && filters.accept("scope", |scope| output::word(network.scope) == scope)
        && filters.accept_labels(&network.labels)
}

fn listing(args: &Ls, networks: &[NetworkSummary]) -> String {
    if args.json {
        return output::json(networks);
    }
    let id = |network: &NetworkSummary| output::shown_id(&network.id, args.no_trunc);
    if args.quiet {
        return networks.iter().map(|network| id(network) + "\n").collect();
    }
    let rows = networks.iter().map(|network| {
        vec![
            id(network),
            network.name.clone(),
            output::word(network.driver),
            output::word(network.scope),
        ]
    });
    output::table(&["NETWORK ID", "NAME", "DRIVER", "SCOPE"], rows)
}

/// By Docker's names of columns.
fn row(args: &Ls, network: &NetworkSummary) -> Row {
    Row {
        columns: vec![
            ("ID", output::shown_id(&network.id, args.no_trunc)),
            ("Name", network.name.clone()),
            ("Driver", output::word(network.driver)),
            ("Scope", output::word(network.scope)),
            ("Labels", format::labels(&network.labels)),
        ],
        labels: network.labels.clone(),
    }
}

async fn remove(args: &Rm, client: &Client) -> Result<u8, Failure> {
    for_each_name(&args.names, async |name| {
        client.remove_network(name).await?;
        output::print(&format!("{name}\n"))
    })
    .await
}

async fn connect(args: ConnectArgs, client: &Client) -> Result<u8, Failure> {
    let connect = Connect {
        container: args.container,
        settings: EndpointSettings {
            ip: args.ip,
            ip6: args.ip6,
            mac: args.mac_address,
            aliases: args.alias,
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

/// The last of a repeated option counts, as with Docker; only records add up, as the agent takes them.
fn options(given: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut options = BTreeMap::<String, String>::new();
    for (key, value) in given {
        match options.get_mut(&key) {
            Some(records) if key == "dns.record" => *records = format!("{records},{value}"),
            _ => {
                options.insert(key, value);
            }
        }
    }
    options
}

/// No answer, as where nobody is there to ask, is a no.
fn says_yes(mut answers: impl BufRead) -> bool {
    let mut answer = String::new();
    let read = answers.read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn driver(name: &str) -> Result<Driver, String> {
    match name {
        "bridge" => Ok(Driver::Bridge),
        "overlay" => Ok(Driver::Overlay),
        "host" | "null" => Err(format!("there is one network of driver {name}, always")),
        _ => Err("there are bridge and overlay".to_owned()),
    }
}

const HEADERS: [(&str, &str); 5] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Labels", "LABELS"),
];
const FILTERS: [&str; 7] = [
    "id",
    "name",
    "driver",
    "scope",
    "type",
    "dangling",
    filter::LABEL,
];
/// Those that every agent has.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];
const PRUNE_QUESTION: &str = "WARNING! This will remove all networks not used by at least one container.\n\
                              Are you sure you want to continue? [y/N] ";

#[cfg(test)]
mod tests {
    use super::*;
    use agent_api::Scope;

    fn networks() -> Vec<NetworkSummary> {
        let network = |digit: &str, name: &str, driver, scope| NetworkSummary {
            id: digit.repeat(64),
            name: name.into(),
            driver,
            scope,
            no_way_out: None,
            labels: BTreeMap::from([(name.to_owned(), "yes".to_owned())]),
        };
        vec![
            network("a", "bridge", Driver::Bridge, Scope::Local),
            network("b", "host", Driver::Host, Scope::Local),
            network("c", "none", Driver::Null, Scope::Local),
            network("d", "big", Driver::Overlay, Scope::Global),
        ]
    }

    #[test]
    fn listing_is_dockers_table() {
        let plain = Ls {
            quiet: false,
            no_trunc: false,
            filter: Vec::new(),
            format: None,
            json: false,
        };
        insta::assert_snapshot!(listing(&plain, &networks()), @r"
        NETWORK ID     NAME      DRIVER    SCOPE
        aaaaaaaaaaaa   bridge    bridge    local
        bbbbbbbbbbbb   host      host      local
        cccccccccccc   none      null      local
        dddddddddddd   big       overlay   global
        ");
    }

    #[test]
    fn filters_choose_by_what_a_network_is() {
        let names = |given: &[&str]| {
            let given = given.iter().map(|text| filter::filter(text).unwrap());
            let filters = Filters::new(given.collect(), &FILTERS).unwrap();
            let fitting = networks()
                .into_iter()
                .filter(|network| fits(&filters, network, &["big".to_owned()].into()));
            fitting.map(|network| network.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["driver=overlay"]), ["big"]);
        assert_eq!(names(&["name=o"]), ["host", "none"]);
        assert_eq!(
            names(&["id=cc", "id=aa", "scope=local"]),
            ["bridge", "none"]
        );
        assert_eq!(names(&["label=host=yes"]), ["host"]);
        assert!(names(&["label=host=no"]).is_empty());
        assert_eq!(names(&["type=custom"]), ["big"]);
        assert_eq!(names(&["type=builtin", "name=o"]), ["host", "none"]);
        assert!(names(&["dangling=true"]).is_empty());
        assert_eq!(names(&["dangling=false", "driver=overlay"]), ["big"]);
        for wrong in ["type=mine", "dangling=1"] {
            let given = vec![filter::filter(wrong).unwrap()];
            let filters = Filters::new(given, &FILTERS).unwrap();
            assert!(check_filters(&filters).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quiet_listing_is_ids_only() {
        let quiet = Ls {
            quiet: true,
            no_trunc: true,
            filter: Vec::new(),
            format: None,
            json: false,
        };
        let ids = listing(&quiet, &networks()[..2]);
        assert_eq!(ids, format!("{}\n{}\n", "a".repeat(64), "b".repeat(64)));
    }

    #[test]
    fn repeated_records_add_up() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let given = vec![
            pair("dns.record", "a=10.0.0.1"),
            pair("tap", "basic"),
            pair("dns.record", "b=10.0.0.2"),
            pair("tap", "offload"),
        ];
        let options = options(given);
        assert_eq!(options["dns.record"], "a=10.0.0.1,b=10.0.0.2");
        assert_eq!(options["tap"], "offload");
    }

    #[test]
    fn only_yes_is_yes() {
        assert!(says_yes(&b"y\n"[..]));
        assert!(says_yes(&b" Y \n"[..]));
        for no in [&b""[..], b"\n", b"n\n", b"yep\n"] {
            assert!(!says_yes(no));
        }
    }
}
