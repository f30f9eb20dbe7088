//! `tapestry cluster`: make hosts one cluster, and keep them so.

mod backup;

use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use agent_api::{
    CaRotate, CaRotation, Client, ClusterDetail, ClusterInit, ClusterJoin, ClusterManager,
    ClusterRevoke, HostReach, HostTunnel, HostView, ManagersView, TokenCreate,
};
use serde::Serialize;

use crate::failure::Failure;
use crate::listing::{Listing, Sheet};
use crate::output;

/// Make hosts one cluster, so that they share networks
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Init(Init),
    Token(Token),
    Join(Join),
    Ls(Ls),
    Leave(Leave),
    Revoke(Revoke),
    Promote(Promote),
    Demote(Demote),
    Recover(Recover),
    Rm(backup::Rm),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Managers(backup::Managers),
    #[command(subcommand)]
    Ca(Ca),
}

/// Make a cluster of this host and print its id
///
/// This host keeps the cluster's CA: others join at it and renew their certificates there. Without --etcd the agent runs an
/// etcd of its own, with mutual TLS and its data in the state directory.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The address, and the TCP port (4790), at which others reach this host
    #[arg(long, value_name = "IP[:PORT]", value_parser = advertised)]
    advertise: Option<(IpAddr, Option<u16>)>,
    /// An etcd to use; may be repeated
    #[arg(long, value_name = "URL")]
    etcd: Vec<String>,
}

/// Print a token with which one host can join
#[derive(Debug, clap::Args)]
pub(crate) struct Token {
    /// Seconds until it expires, at most 900
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// Print the token only
    #[arg(short, long)]
    quiet: bool,
}

/// Join a cluster with a token
///
/// Everybody on this machine can read a command line while it runs. With - in its place the token is read from standard
/// input, and stays between you and the agent.
#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The address, and the UDP port (4790), at which others reach this host; the address it joins from where absent
    #[arg(long, value_name = "IP[:PORT]", value_parser = advertised)]
    advertise: Option<(IpAddr, Option<u16>)>,
    /// What `tapestry cluster token` printed, or - to read it from standard input
    #[arg(value_name = "TOKEN|-")]
    token: String,
    /// The host that made the cluster
    #[arg(value_name = "ADDRESS[:PORT]", value_parser = signer)]
    address: SocketAddr,
}

/// List the hosts of the cluster
///
/// This host has a star. Another one is `up`, with the round trip of its tunnel; `down` where no frame gets there, though its
/// agent runs; `idle` where there is no tunnel, since no network is shared with it; `away` where its agent is not heard any more.
/// CERT is how long its certificate is still good.
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    listing: Listing,
}

/// Take this host out of its cluster
#[derive(Debug, clap::Args)]
pub(crate) struct Leave {}

/// Shut a host out: its certificates are void, and what it held is free
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// The host's id, the beginning of one, or its name
    host: String,
}

/// Make a host a manager, on one
///
/// It gets the CA's key over mutual TLS, and a member of the managers' etcd, so that it admits hosts and has the store for
/// them. With three managers any one may be lost, with five any two.
#[derive(Debug, clap::Args)]
pub(crate) struct Promote {
    /// The host's id, the beginning of one, or its name
    host: String,
}

/// Make a manager a member, on any manager, also when it is down for good
#[derive(Debug, clap::Args)]
pub(crate) struct Demote {
    /// The host's id, the beginning of one, or its name
    host: String,
}

/// Make this host the only manager, where so many others are lost for good that the store does not answer
///
/// It goes on with what it has; the other managers are shut out, and have to be joined anew should they come back.
#[derive(Debug, clap::Args)]
pub(crate) struct Recover {}

/// Look after the cluster's certificate authority
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Ca {
    Rotate(Rotate),
}

/// Put a new CA in the place of the one that signs, on the host where hosts join
///
/// Every host gets a certificate of the new CA, and trusts both until all that are up have one; `tapestry cluster ls` shows how
/// far that is. A host that is off meanwhile has 90 days to come back. Tokens that were made before are void.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// End a rotation now, without the hosts that have no new certificate yet
    #[arg(long)]
    finish: bool,
}

pub(crate) async fn run(verb: Verb, client: &Client) -> Result<u8, Failure> {
    match verb {
        Verb::Init(args) => init(args, client).await,
        Verb::Token(args) => token(&args, client).await,
        Verb::Join(args) => join(args, client).await,
        Verb::Ls(args) => list(&args, client).await,
        Verb::Leave(_) => client.leave_cluster().await.map(|()| 0).map_err(Into::into),
        Verb::Revoke(args) => {
            let revoke = ClusterRevoke { host: args.host };
            client.revoke_host(&revoke).await?;
            Ok(0)
        }
        Verb::Promote(Promote { host }) => {
            let now = client.promote_host(&ClusterManager { host }).await?;
            output::print(&format!("{} is a manager. {}\n", now.host, told(&now)))?;
            Ok(0)
        }
        Verb::Demote(Demote { host }) => {
            let now = client.demote_host(&ClusterManager { host }).await?;
            output::print(&format!("{} is no manager. {}\n", now.host, told(&now)))?;
            Ok(0)
        }
        Verb::Recover(Recover {}) => backup::recover(client).await,
        Verb::Rm(args) => backup::remove(args, client).await,
        Verb::Backup(args) => backup::back_up(&args, client).await,
        Verb::Restore(args) => backup::restore(args, client).await,
        Verb::Managers(args) => backup::point(&args, client).await,
        Verb::Ca(Ca::Rotate(Rotate { finish })) => {
            client.rotate_ca(&CaRotate { finish }).await?;
            Ok(0)
        }
    }
}

/// Who the managers are, and how many of them may be lost.
fn told(now: &ManagersView) -> String {
    let (count, names) = (now.managers.len(), now.managers.join(", "));
    let spare = match now.run_etcd {
        true => count.saturating_sub(1) / 2,
        false => count.saturating_sub(1),
    };
    let managers = match count {
        1 => format!("There is one manager: {names}."),
        count => format!("There are {count} managers: {names}."),
    };
    match spare {
        0 if count == 2 => format!(
            "{managers} Both are needed, so neither may be lost; promote a third, then any one may."
        ),
        0 => format!("{managers} It may not be lost; with three, any one may."),
        1 => format!("{managers} Any one of them may be lost."),
        spare => format!("{managers} Any {spare} of them may be lost."),
    }
}

async fn init(args: Init, client: &Client) -> Result<u8, Failure> {
    let made = client
        .init_cluster(&ClusterInit {
            address: args.advertise.map(|(address, _)| address),
            tcp_port: args.advertise.and_then(|(_, port)| port),
            etcd: args.etcd,
        })
        .await?;
    output::print(&format!("{}\n", made.id))?;
    Ok(0)
}

async fn token(args: &Token, client: &Client) -> Result<u8, Failure> {
    let token = client
        .create_token(&TokenCreate { ttl_s: args.ttl })
        .await?;
    if args.quiet {
        output::print(&format!("{}\n", token.token))?;
        return Ok(0);
    }
    output::print(&format!(
        "tapestry cluster join {} {}\n",
        token.token, token.address
    ))?;
    Ok(0)
}

async fn join(args: Join, client: &Client) -> Result<u8, Failure> {
    let token = match args.token.as_str() {
        "-" => read_token(std::io::stdin().lock())?,
        _ => args.token,
    };
    let joined = client
        .join_cluster(&ClusterJoin {
            token,
            address: args.address,
            advertise: args.advertise.map(|(address, _)| address),
            udp_port: args.advertise.and_then(|(_, port)| port),
        })
        .await?;
    output::print(&format!("{}\n", joined.id))?;
    Ok(0)
}

/// The token alone on a line, or the command that `tapestry cluster token` prints.
fn read_token(input: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    input
        .take(TOKEN_TEXT_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::said(format!("cannot read the token: {error}")))?;
    let words = text.split_whitespace();
    let mut tokens = words.filter(|word| word.starts_with(TOKEN_PREFIX));
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => Ok(token.to_owned()),
        _ => Err(Failure::usage(
            "standard input holds no token, or more than one; give what `tapestry cluster token -q` printed",
        )),
    }
}

async fn list(args: &Ls, client: &Client) -> Result<u8, Failure> {
    let mut cluster = client.cluster().await?;
    let rows = rows(&cluster, args.no_trunc, output::now_s());
    if args.listing.is_json() {
        let fitting = args.listing.fitting(&rows, &SHEET)?;
        cluster.hosts = fitting.into_iter().map(|row| row.host.clone()).collect();
        output::print(&output::json(&cluster))?;
        return Ok(0);
    }
    args.listing.print_as(args.no_trunc, &rows, &SHEET)?;
    if args.listing.is_plain() {
        output::print(&rotation(&cluster))?;
    }
    Ok(0)
}

/// A host, and its row of the table.
#[derive(Serialize)]
struct HostRow {
    #[serde(flatten)]
    host: HostView,
    #[serde(skip)]
    cells: Vec<String>,
}

fn rows(cluster: &ClusterDetail, no_trunc: bool, now_s: u64) -> Vec<HostRow> {
    let row = |host: &HostView| {
        let mark = if host.own { " *" } else { "" };
        HostRow {
            host: host.clone(),
            cells: vec![
                output::shown_id(&host.id, no_trunc) + mark,
                host.name.clone(),
                host.address.to_string(),
                state(cluster, host),
                certificate(host, now_s),
                if host.manager { "manager" } else { "" }.to_owned(),
            ],
        }
    };
    cluster.hosts.iter().map(row).collect()
}

const SHEET: Sheet<HostRow> = Sheet {
    columns: &[
        ("ID", "HOST ID"),
        ("Name", "NAME"),
        ("Address", "ADDRESS"),
        ("State", "STATE"),
        ("Cert", "CERT"),
        ("Role", "ROLE"),
    ],
    called: 1,
    rows: |row| vec![row.cells.clone()],
};

fn rotation(cluster: &ClusterDetail) -> String {
    match cluster.ca.rotation {
        None => String::new(),
        Some(CaRotation { renewed, up }) => format!(
            "The CA is being rotated: {renewed} of {up} hosts that are up have a certificate of the new one.\n"
        ),
    }
}

/// A host whose tunnel is up is there, whatever its lease says; of others only the store knows.
fn state(cluster: &ClusterDetail, host: &HostView) -> String {
    match (host.reach, &host.tunnel) {
        (HostReach::Up, Some(tunnel)) => up(cluster, tunnel),
        (HostReach::Up, None) => "up".to_owned(),
        _ if !cluster.in_step => "unknown".to_owned(),
        (reach, _) => output::word(reach),
    }
}

/// With who passes on what goes there, and the round trip.
fn up(cluster: &ClusterDetail, tunnel: &HostTunnel) -> String {
    let mut text = "up".to_owned();
    if let Some(relay) = &tunnel.relay {
        let known = cluster.hosts.iter().find(|host| host.id == *relay);
        text += &format!(" via {}", known.map_or(relay, |host| &host.name));
    }
    if let Some(us) = tunnel.rtt_us {
        text += &format!(" {}", milliseconds(us));
    }
    text
}

/// How long a host's certificate is still good.
fn certificate(host: &HostView, now_s: u64) -> String {
    let left_s = |until_s: u64| until_s.saturating_sub(now_s);
    match host.certificate_until_s.map(left_s) {
        None => String::new(),
        Some(0) => "ended".to_owned(),
        Some(left_s) => span(left_s),
    }
}

/// A length of time in its largest unit.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        86_400.. => format!("{} d", seconds / 86_400),
        3600.. => format!("{} h", seconds / 3600),
        60.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

pub(crate) fn milliseconds(us: u64) -> String {
    match us {
        100_000.. => format!("{} ms", us / 1000),
        _ => format!("{}.{:02} ms", us / 1000, us % 1000 / 10),
    }
}

/// `IP` or `IP:PORT`, IPv6 in brackets where a port follows.
fn advertised(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, None));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok((address.ip(), Some(address.port()))),
        _ => Err("write it as 192.0.2.1, 192.0.2.1:4790 or [2001:db8::1]:4790".to_owned()),
    }
}

fn signer(text: &str) -> Result<SocketAddr, String> {
    let (address, port) = advertised(text)?;
    Ok(SocketAddr::new(address, port.unwrap_or(DEFAULT_TCP_PORT)))
}

const DEFAULT_TCP_PORT: u16 = 4790;
const TOKEN_PREFIX: &str = "TPSTRY-";
/// A token has 150 characters.
const TOKEN_TEXT_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use agent_api::{CaView, HostState};

    use super::*;
    use crate::listing;

    fn table(cluster: &ClusterDetail, no_trunc: bool, now_s: u64) -> String {
        let rows = rows(cluster, no_trunc, now_s);
        listing::tests::table(&rows, &SHEET) + &rotation(cluster)
    }

    #[test]
    fn an_address_may_have_a_port() {
        assert_eq!(
            advertised("192.0.2.1:1"),
            Ok(("192.0.2.1".parse().unwrap(), Some(1)))
        );
        assert_eq!(
            advertised("2001:db8::1"),
            Ok(("2001:db8::1".parse().unwrap(), None))
        );
        assert_eq!(signer("192.0.2.1"), Ok("192.0.2.1:4790".parse().unwrap()));
        for wrong in ["host", "192.0.2.1:0", "192.0.2.1:", "[::1]", ""] {
            assert!(advertised(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_read_with_what_is_printed_around_it() {
        let token = "TPSTRY-1-00-11-22";
        for text in [
            "TPSTRY-1-00-11-22",
            "  TPSTRY-1-00-11-22\n",
            "tapestry cluster join TPSTRY-1-00-11-22 192.0.2.1:4790\n",
        ] {
            assert_eq!(read_token(text.as_bytes()).unwrap(), token, "{text:?}");
        }
        let endless = std::io::repeat(b'a');
        assert!(read_token(endless).is_err());
        for text in ["", "\n", "TPSTRY-1-00 TPSTRY-1-01", "token"] {
            let refused = read_token(text.as_bytes()).unwrap_err();
            assert_eq!(refused.code(), 2, "{text:?}");
        }
    }

    /// One with every kind of host.
    fn cluster() -> ClusterDetail {
        let host = |id: &str, reach| HostView {
            id: id.repeat(16),
            name: format!("host-{id}"),
            address: "192.0.2.1".parse().unwrap(),
            state: match reach {
                HostReach::Away => HostState::Down,
                _ => HostState::Up,
            },
            reach,
            away_s: None,
            manager: ["a", "c"].contains(&id),
            own: id == "a",
            joined_s: 0,
            certificate_until_s: (reach != HostReach::Away).then_some(1_000_000 + 3 * 86_400),
            tunnel: ["b", "f"].contains(&id).then(|| HostTunnel {
                up: true,
                needed: true,
                for_s: Some(7),
                address: "192.0.2.2:4790".parse().unwrap(),
                relay: (id == "f").then(|| "b".repeat(16)),
                rtt_us: Some(1_057),
                udp_payload: Some(1472),
                sent_packets: None,
                lost_packets: None,
                counts: BTreeMap::new(),
            }),
            path_mtu: None,
        };
        ClusterDetail {
            id: "c".into(),
            host: "a".repeat(16),
            in_step: true,
            out_of_step: None,
            double: None,
            certificate_from_s: 0,
            certificate_until_s: 0,
            ca: CaView {
                until_s: 0,
                rotation: Some(CaRotation { renewed: 1, up: 2 }),
            },
            hosts: vec![
                host("a", HostReach::Up),
                host("b", HostReach::Up),
                host("c", HostReach::Idle),
                host("d", HostReach::Down),
                host("e", HostReach::Away),
                host("f", HostReach::Up),
            ],
            managers: Vec::new(),
            refused: 0,
            records_refused: 0,
            denied: 0,
            quic: BTreeMap::new(),
        }
    }

    #[test]
    fn hosts_are_listed_with_how_they_are_seen_from_here() {
        let shown = table(&cluster(), false, 1_000_000);
        assert!(
            shown
                .lines()
                .all(|line| line.len() <= 80 || line.starts_with("The CA"))
        );
        insta::assert_snapshot!(shown, @r"
        HOST ID          NAME      ADDRESS     STATE                   CERT      ROLE
        aaaaaaaaaaaa *   host-a    192.0.2.1   up                      3 d       manager
        bbbbbbbbbbbb     host-b    192.0.2.1   up 1.05 ms              3 d
        cccccccccccc     host-c    192.0.2.1   idle                    3 d       manager
        dddddddddddd     host-d    192.0.2.1   down                    3 d
        eeeeeeeeeeee     host-e    192.0.2.1   away
        ffffffffffff     host-f    192.0.2.1   up via host-b 1.05 ms   3 d
        The CA is being rotated: 1 of 2 hosts that are up have a certificate of the new one.
        ");
    }

    #[test]
    fn it_is_told_how_many_managers_may_be_lost() {
        let told = |names: &[&str], run_etcd| {
            told(&ManagersView {
                host: "a".into(),
                managers: names.iter().map(|name| (*name).to_owned()).collect(),
                run_etcd,
            })
        };
        assert!(told(&["a"], true).contains("may not be lost"));
        assert!(told(&["a", "b"], true).contains("promote a third"));
        assert_eq!(
            told(&["a", "b", "c"], true),
            "There are 3 managers: a, b, c. Any one of them may be lost."
        );
        assert!(told(&["a", "b", "c", "d", "e"], true).contains("Any 2 of them"));
        // With an etcd of the user's own, each of them is enough.
        assert!(told(&["a", "b"], false).contains("Any one of them"));
    }

    #[test]
    fn without_the_store_those_are_known_that_a_tunnel_leads_to() {
        let cluster = ClusterDetail {
            in_step: false,
            ..cluster()
        };
        let shown = table(&cluster, true, 1_000_000);
        assert_eq!(shown.matches("unknown").count(), 3, "{shown}");
        assert!(shown.contains(&"b".repeat(16)), "{shown}");
    }

    #[test]
    fn a_span_is_told_in_its_largest_unit() {
        let spans = [59, 60, 3599, 3600, 86_399, 86_400].map(span);
        assert_eq!(spans, ["59 s", "1 min", "59 min", "1 h", "23 h", "1 d"]);
    }
}
