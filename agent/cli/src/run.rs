//! `tapestry run`: a command in namespaces of its own.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use agent_api::{
    Client, ContainerCreate, Created, DnsServer, EndpointSettings, ErrorKind, Hold, PortSettings,
    RestartPolicy,
};
use agent_container::attach::{Session, SessionOptions};
use clap::ValueEnum;

use crate::arguments::{self, Ip, Variable};
use crate::attachment::{self, Attachment, Vlans};
use crate::failure::Failure;
use crate::publish::{self, Exposed, Publish};
use crate::rate::Rates;
use crate::{image, output, session, wait};

/// Run a command in a container
///
/// The command gets its own UTS, PID, IPC, mount and network namespaces, on this host's files unless --rootfs names
/// others, and the capabilities that Docker gives. On this host's files it is root to them: this keeps no secret and stops
/// no attacker. Options after COMMAND's first word belong to the command.
///
/// The exit status is the command's own; 125 if the agent did not run it, 126 if it cannot be executed, 127 if it does
/// not exist.
#[derive(Debug, clap::Args)]
// -h is the host's name, as in Docker.
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Leave it running and print its id
    #[arg(short, long)]
    detach: bool,
    /// Remove the container when the command ends
    #[arg(long)]
    rm: bool,
    /// Keep standard input open and pass it on
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// The container's name; made up where absent
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The name that the command's machine seems to have
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// A network's name, or bridge, host, none, container:NAME; or name=NAME,alias=NAME,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC;
    /// may be repeated, the first has the default route
    #[arg(
        long,
        visible_alias = "net",
        value_name = "NETWORK",
        default_value = "bridge",
        value_parser = attachment::attachment
    )]
    network: Vec<Attachment>,
    /// Its IPv4 address on the network; `dhcp`: as the DHCP server of the LAN has it
    #[arg(long, value_name = "ADDRESS|dhcp")]
    ip: Option<Ip>,
    /// Its IPv6 address on the network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// Its MAC address, as in 02:42:ac:11:00:02
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    #[command(flatten)]
    vlans: Vlans,
    /// Another name for it on the network; may be repeated
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// How the switch treats its port, as in locked=on or learn_limit=8; the words of port set; may be repeated
    #[arg(long, value_name = "SETTING")]
    port_option: Vec<PortSettings>,
    /// A server for names outside the network, encrypted as in tls://1.1.1.1#one.one.one.one, https:// or quic://; may
    /// be repeated
    #[arg(long, value_name = "SERVER")]
    dns: Vec<DnsServer>,
    /// A domain to look short names up in, . for none; the host's where absent; may be repeated
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// An option of resolv.conf, as ndots:2; may be repeated
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Another line of its /etc/hosts; host-gateway as address stands for this host; may be repeated
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Publish a port on the host; without HOST a free one; HOST and CONTAINER may be ranges, and of a range for one CONTAINER
    /// the first free port is taken; may be repeated
    #[arg(
        short,
        long,
        value_name = "[[IP:]HOST:]CONTAINER[/udp]",
        value_parser = publish::publish
    )]
    publish: Vec<Publish>,
    /// Publish every port that --expose names on a free port of the host
    #[arg(short = 'P', long, requires = "expose")]
    publish_all: bool,
    /// A port that the command serves, for -P; may be repeated
    #[arg(long, value_name = "PORT[-PORT][/udp]", value_parser = publish::expose)]
    expose: Vec<Exposed>,
    /// A kernel setting of its network, as net.ipv4.ip_forward=1; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = arguments::key_value)]
    sysctl: Vec<(String, String)>,
    /// Start it again when it ends: no, on-failure[:TIMES], always or unless-stopped
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "no",
        conflicts_with = "rm"
    )]
    restart: RestartPolicy,
    /// An environment variable; without a value, the one it has here; may be repeated
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = arguments::variable)]
    env: Vec<Variable>,
    /// The directory that the command starts in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// A directory that becomes the command's / instead of this host's
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// private: root in the container is an unprivileged user outside; host: no user namespace
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "host",
        hide_possible_values = true
    )]
    userns: UserNamespace,
    /// A capability beyond Docker's default set, as NET_ADMIN, or ALL; may be repeated
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// A capability of that set to go without, or ALL; may be repeated
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// All capabilities, all of /proc and /sys, and an agent that answers it at its socket
    #[arg(long)]
    privileged: bool,
    /// The most memory that it may use, as 512m or 2g
    #[arg(short, long, value_name = "BYTES", value_parser = arguments::bytes)]
    memory: Option<u64>,
    /// The most processor time that it may use, as 1.5 for one and a half processors
    #[arg(long, value_name = "NUMBER", value_parser = arguments::nano_cpus)]
    cpus: Option<u64>,
    /// The most processes and threads that it may have
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pids_limit: Option<u64>,
    #[command(flatten)]
    rates: Rates,
    /// A label to find it by; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = arguments::key_value)]
    label: Vec<(String, String)>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UserNamespace {
    Host,
    Private,
}

pub(crate) fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let (detach, options) = (
        args.detach,
        SessionOptions {
            tty: args.tty,
            interactive: args.interactive,
        },
    );
    let request = request(args)?;
    if detach {
        let id = wait(begin_detached(&request, client))?;
        output::print(&format!("{id}\n"))?;
        return Ok(0);
    }
    session::require_terminal(options)?;
    session::relay(wait(begin_attached(&request, options, client))?)
}

/// Returns the id.
async fn begin_detached(request: &ContainerCreate, client: &Client) -> Result<String, Failure> {
    let (created, _hold) = create(client, request).await?;
    start(client, request, &created).await?;
    Ok(created.id)
}

/// Attaches before it starts, so that the command's first word is not missed.
async fn begin_attached(
    request: &ContainerCreate,
    options: SessionOptions,
    client: &Client,
) -> Result<Session, Failure> {
    let (created, _hold) = create(client, request).await?;
    match session::attach(&created.attach, options) {
        Ok(session) => {
            start(client, request, &created).await?;
            Ok(session)
        }
        Err(failure) => {
            discard(client, &created).await;
            Err(failure)
        }
    }
}

/// Whatever ends us before the start takes the container along.
async fn create(client: &Client, request: &ContainerCreate) -> Result<(Created, Hold), Failure> {
    let created = client.create_held_container(request).await;
    created.map_err(Failure::RefusedRun)
}

/// Starts what was created; with `--rm`, what could not start is not left behind.
async fn start(
    client: &Client,
    request: &ContainerCreate,
    created: &Created,
) -> Result<(), Failure> {
    let started = client.start_container(&created.id).await;
    if started.is_err() && request.remove {
        discard(client, created).await;
    }
    started.map_err(|error| match error.kind() {
        Some(ErrorKind::CommandNotFound) if image::is_likely(&request.command) => {
            Failure::NoImages(error)
        }
        _ => Failure::RefusedRun(error),
    })
}

/// Best effort: the failure that led here is the one to tell.
async fn discard(client: &Client, created: &Created) {
    let _ = client.remove_container(&created.id, true).await;
}

fn request(args: Args) -> Result<ContainerCreate, Failure> {
    let exposed: &[Exposed] = match args.publish_all {
        true => &args.expose,
        false => &[],
    };
    let (publish, publish_one_of) = publish::all(args.publish, exposed);
    let mut request = ContainerCreate {
        name: args.name,
        hostname: args.hostname,
        dns: args.dns,
        dns_search: args.dns_search,
        dns_options: args.dns_option,
        publish,
        publish_one_of,
        extra_hosts: args.add_host,
        sysctls: args.sysctl.into_iter().collect(),
        env: arguments::environment(args.env),
        workdir: args.workdir,
        rootfs: args.rootfs.map(absolute).transpose()?,
        command: args.command,
        tty: args.tty,
        interactive: args.interactive,
        remove: args.rm,
        restart: args.restart,
        labels: args.label.into_iter().collect(),
        private_users: args.userns == UserNamespace::Private,
        cap_add: args.cap_add,
        cap_drop: args.cap_drop,
        privileged: args.privileged,
        memory: args.memory,
        nano_cpus: args.cpus,
        pids: args.pids_limit,
        ..ContainerCreate::default()
    };
    let single = EndpointSettings {
        ip: args.ip.and_then(Ip::address),
        lease: args.ip == Some(Ip::Dhcp),
        ip6: args.ip6,
        mac: args.mac_address,
        vlan: args.vlans.vlan,
        trunk: args.vlans.trunk,
        aliases: args.network_alias,
        port_settings: PortSettings::of(&args.port_option),
        rates: args.rates.settings(),
        ..EndpointSettings::default()
    };
    attachment::attach(args.network, single, &mut request).map_err(Failure::usage)?;
    Ok(request)
}

/// The agent has another working directory than we.
fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&path)
        .map_err(|error| Failure::usage(format!("cannot use {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(line: &[&str]) -> ContainerCreate {
        let words = std::iter::once(&"run").chain(line);
        request(Line::try_parse_from(words).unwrap().args).unwrap()
    }

    #[test]
    fn options_after_the_command_belong_to_the_command() {
        let request = parsed(&["--name", "a", "ls", "-l", "--rm", "--", "-x"]);
        assert_eq!(request.command, ["ls", "-l", "--rm", "--", "-x"]);
        assert!(!request.remove);
        let request = parsed(&["--rm", "--", "sh", "-c", "exit 3", "--"]);
        assert_eq!(request.command, ["sh", "-c", "exit 3", "--"]);
        assert!(request.remove);
    }

    #[test]
    fn unknown_option_before_the_command_is_refused() {
        assert!(Line::try_parse_from(["run", "--bogus", "ls"]).is_err());
        assert!(Line::try_parse_from(["run", "--rm"]).is_err());
        for contradiction in [&["--rm", "--restart", "always"][..], &["-P"]] {
            let words = [&["run"], contradiction, &["ls"]].concat();
            assert!(Line::try_parse_from(words).is_err(), "{contradiction:?}");
        }
        let request = parsed(&["--rm", "ls"]);
        assert_eq!(request.restart, RestartPolicy::No);
        let request = parsed(&["--restart=on-failure:3", "ls"]);
        assert_eq!(request.restart, RestartPolicy::OnFailure { most: 3 });
    }

    #[test]
    fn every_option_reaches_the_request() {
        let request = parsed(&[
            "-it",
            "--rm",
            "--name",
            "web",
            "-h",
            "h",
            "--network",
            "lab",
            "--ip",
            "10.0.0.2",
            "--ip6",
            "fd00::2",
            "--mac-address",
            "02:42:0a:00:00:02",
            "--vlan",
            "10",
            "--trunk",
            "20-30",
            "--network-alias",
            "a",
            "--network-alias",
            "b",
            "--port-option",
            "isolated",
            "--port-option",
            "learn_limit=8",
            "--dns",
            "8.8.8.8",
            "--dns",
            "tls://1.1.1.1#one.one.one.one",
            "--dns-search",
            "example.com",
            "--dns-option",
            "ndots:2",
            "-p",
            "8080:80",
            "-p",
            "[::1]:53:53/udp",
            "-p",
            "9000-9010:90",
            "-P",
            "--expose",
            "80-81",
            "--network",
            "name=back,ip=10.9.0.2",
            "--add-host",
            "db:10.0.0.9",
            "--sysctl",
            "net.ipv4.ip_forward=1",
            "-e",
            "A=1",
            "-w",
            "/tmp",
            "--rootfs",
            "/srv/root",
            "--userns",
            "private",
            "--cap-add",
            "NET_ADMIN",
            "--cap-add",
            "SYS_TIME",
            "--cap-drop",
            "NET_RAW",
            "--privileged",
            "-m",
            "64m",
            "--cpus",
            "1.5",
            "--pids-limit",
            "20",
            "--label",
            "tier=front",
            "-l",
            "mine",
            "--",
            "sh",
        ]);
        insta::assert_snapshot!(output::json(&request));
    }
}
