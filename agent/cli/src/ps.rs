//! `tapestry ps`: the containers.

use std::net::IpAddr;

use agent_api::{Client, ContainerState, ContainerSummary, PortMapping};

use crate::failure::Failure;
use crate::filter::{self, Filters};
use crate::format::{self, Format, Row};
use crate::output;
use crate::screen;

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show those that do not run too
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print whole ids, commands and lists of ports
    #[arg(long)]
    no_trunc: bool,
    /// Only those that fit: id=, name=, status=, exited=, network=, label=KEY[=VALUE]; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::filter)]
    filter: Vec<(String, String)>,
    /// Print what a template says of each, as '{{.ID}}'; or json, table, 'table {{.ID}}\t{{.Names}}'
    #[arg(long, value_name = "TEMPLATE", value_parser = format::format, conflicts_with_all = ["json", "quiet"])]
    format: Option<Format>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let filters = Filters::new(args.filter.clone(), &FILTERS).map_err(Failure::usage)?;
    let mut containers = client.containers().await?;
    // Who asks for a status asks for all that have it, as with Docker.
    let is_up =
        |container: &ContainerSummary| matches!(status_word(container), "running" | "restarting");
    let all = args.all || filters.has("status") || filters.has("exited");
    containers.retain(|container| (all || is_up(container)) && fits(&filters, container));
    let now_s = output::now_s();
    let formatted = match &args.format {
        Some(format) => {
            let rows = containers
                .iter()
                .map(|container| row(&args, container, now_s));
            format.list(&rows.collect::<Vec<_>>(), &HEADERS)?
        }
        None => None,
    };
    output::print(&formatted.unwrap_or_else(|| listing(&args, &containers, now_s)))?;
    Ok(0)
}

fn fits(filters: &Filters, container: &ContainerSummary) -> bool {
    filters.accept("id", |id| container.id.starts_with(id))
        && filters.accept("name", |name| container.name.contains(name))
        && filters.accept("status", |status| status_word(container) == status)
        && filters.accept("exited", |code| match container.state {
            ContainerState::Exited { code: with } => with.to_string() == code,
            _ => false,
        })
        && filters.accept("network", |name| {
            container.networks.iter().any(|network| network == name)
        })
        && filters.accept_labels(&container.labels)
}

pub(crate) const fn status_word(container: &ContainerSummary) -> &'static str {
    match container.state {
        _ if container.restarting => "restarting",
        ContainerState::Created => "created",
        ContainerState::Running { .. } => "running",
        ContainerState::Exited { .. } => "exited",
    }
}

fn listing(args: &Args, containers: &[ContainerSummary], now_s: u64) -> String {
    if args.json {
        return output::json(containers);
    }
    let id = |container: &ContainerSummary| output::shown_id(&container.id, args.no_trunc);
    if args.quiet {
        let ids = containers.iter().map(|container| id(container) + "\n");
        return ids.collect();
    }
    let rows = containers.iter().map(|container| {
        let age_s = now_s.saturating_sub(container.created_s);
        vec![
            id(container),
            container.name.clone(),
            command(&container.command, args.no_trunc),
            format!("{} ago", output::span(age_s)),
            status(container, now_s.saturating_sub(container.since_s)),
            ports(published(container), args.no_trunc),
            networks(container),
        ]
    });
    let headers = [
        "CONTAINER ID",
        "NAME",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NETWORKS",
    ];
    output::table_as(args.no_trunc, &headers, rows)
}

/// With the VLANs there, where it has any.
fn networks(container: &ContainerSummary) -> String {
    let words = container.networks.iter().map(|name| {
        let vlans = container.vlans.get(name);
        vlans.map_or_else(|| name.clone(), |vlans| format!("{name} (VLAN {vlans})"))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// By Docker's names of columns.
fn row(args: &Args, container: &ContainerSummary, now_s: u64) -> Row {
    let age = output::span(now_s.saturating_sub(container.created_s));
    let for_s = now_s.saturating_sub(container.since_s);
    Row {
        columns: vec![
            ("ID", output::shown_id(&container.id, args.no_trunc)),
            ("Names", container.name.clone()),
            ("Command", command(&container.command, args.no_trunc)),
            ("RunningFor", format!("{age} ago")),
            ("State", status_word(container).to_owned()),
            ("Status", status(container, for_s)),
            ("Ports", ports(published(container), args.no_trunc)),
            ("Networks", container.networks.join(",")),
            ("Labels", format::labels(&container.labels)),
        ],
        labels: container.labels.clone(),
    }
}

/// In quotes, with escapes for what is not printed, and no longer than 20 characters unless `whole`.
fn command(words: &[String], whole: bool) -> String {
    let line = words.join(" ");
    match whole {
        true => format!("{line:?}"),
        false => format!("{:?}", screen::cut(&line, COMMAND_LENGTH)),
    }
}

fn status(container: &ContainerSummary, for_s: u64) -> String {
    let span = output::span(for_s);
    match container.state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running { .. } if container.cut_off.is_some() => {
            format!("Cut off {span}")
        }
        ContainerState::Running { .. } => format!("Up {span}"),
        ContainerState::Exited { code } if container.restarting => {
            format!("Restarting ({code}) {span} ago")
        }
        ContainerState::Exited { code } => format!("Exited ({code}) {span} ago"),
    }
}

/// Ports are published while the command runs.
pub(crate) fn published(container: &ContainerSummary) -> &[PortMapping] {
    match container.state {
        ContainerState::Running { .. } => &container.publish,
        ContainerState::Created | ContainerState::Exited { .. } => &[],
    }
}

/// Runs of ports as ranges, and no more than a few of them unless `whole`.
fn ports(mappings: &[PortMapping], whole: bool) -> String {
    let runs = runs(mappings);
    let most = if whole { runs.len() } else { RUNS_SHOWN };
    let shown = runs.iter().take(most).map(|(first, count)| {
        let target = format!(
            "{}->{}/{}",
            range(first.host_port, *count),
            range(first.container_port, *count),
            output::word(first.protocol)
        );
        match first.host_ip {
            None => format!("0.0.0.0:{target}, [::]:{target}"),
            Some(IpAddr::V4(ip)) => format!("{ip}:{target}"),
            Some(IpAddr::V6(ip)) => format!("[{ip}]:{target}"),
        }
    });
    let mut shown: Vec<_> = shown.collect();
    if runs.len() > most {
        shown.push(format!("and {} more", runs.len() - most));
    }
    shown.join(", ")
}

/// Mappings whose ports follow each other: the first, and how many they are.
fn runs(mappings: &[PortMapping]) -> Vec<(&PortMapping, u16)> {
    let mut runs: Vec<(&PortMapping, u16)> = Vec::new();
    for mapping in mappings {
        if let Some((first, count)) = runs.last_mut()
            && (first.host_ip, first.protocol) == (mapping.host_ip, mapping.protocol)
            && first.host_port.checked_add(*count) == Some(mapping.host_port)
            && first.container_port.checked_add(*count) == Some(mapping.container_port)
        {
            *count += 1;
        } else {
            runs.push((mapping, 1));
        }
    }
    runs
}

fn range(first: u16, count: u16) -> String {
    match count {
        1 => first.to_string(),
        _ => format!("{first}-{}", first + (count - 1)),
    }
}

const HEADERS: [(&str, &str); 9] = [
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Networks", "NETWORKS"),
    ("Labels", "LABELS"),
];
const FILTERS: [&str; 6] = ["id", "name", "status", "exited", "network", filter::LABEL];
/// Each takes up to fifty columns.
const RUNS_SHOWN: usize = 3;
const COMMAND_LENGTH: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use agent_api::TransportProtocol;

    fn containers() -> Vec<ContainerSummary> {
        let mapping = |host_ip: Option<&str>, protocol| PortMapping {
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 8080,
            container_port: 80,
            protocol,
        };
        vec![
            ContainerSummary {
                id: "a".repeat(64),
                name: "web".into(),
                command: vec!["httpd".into(), "-f".into()],
                state: ContainerState::Running { pid: 7 },
                created_s: 1000,
                since_s: 1030,
                publish: vec![
                    mapping(Some("127.0.0.1"), TransportProtocol::Tcp),
                    mapping(Some("::1"), TransportProtocol::Udp),
                ],
                networks: vec!["bridge".into(), "lab".into()],
                vlans: [("lab".into(), "10 untagged, 20-30 tagged".into())].into(),
                labels: [("tier".into(), "front".into())].into(),
                restarting: false,
                cut_off: None,
            },
            ContainerSummary {
                id: "b".repeat(64),
                name: "once".into(),
                command: vec![
                    "sh".into(),
                    "-c".into(),
                    "echo \x1b[31m a long line\n".into(),
                ],
                state: ContainerState::Exited { code: 3 },
                created_s: 900,
                since_s: 930,
                publish: vec![mapping(None, TransportProtocol::Tcp)],
                networks: vec![],
                vlans: Default::default(),
                labels: Default::default(),
                restarting: false,
                cut_off: None,
            },
        ]
    }

    #[test]
    fn listing_is_a_table() {
        let args = Args {
            all: true,
            quiet: false,
            no_trunc: false,
            filter: Vec::new(),
            format: None,
            json: false,
        };
        insta::assert_snapshot!(listing(&args, &containers(), 1059));
    }

    #[test]
    fn ports_that_follow_each_other_are_a_range_and_the_rest_is_counted() {
        let mapping = |host_port, container_port| PortMapping {
            host_ip: Some("127.0.0.1".parse().unwrap()),
            host_port,
            container_port,
            protocol: TransportProtocol::Udp,
        };
        let range: Vec<_> = (20_000..30_000).map(|port| mapping(port, port)).collect();
        assert_eq!(
            ports(&range, false),
            "127.0.0.1:20000-29999->20000-29999/udp"
        );
        let apart: Vec<_> = (1..=5).map(|n| mapping(n * 10, n)).collect();
        assert_eq!(
            ports(&apart, false),
            "127.0.0.1:10->1/udp, 127.0.0.1:20->2/udp, 127.0.0.1:30->3/udp, and 2 more"
        );
        assert!(ports(&apart, true).ends_with("127.0.0.1:50->5/udp"));
        let all: Vec<_> = (1..=u16::MAX).map(|port| mapping(port, port)).collect();
        assert_eq!(ports(&all, false), "127.0.0.1:1-65535->1-65535/udp");
        let crossed = [mapping(1, 5), mapping(2, 7)];
        assert_eq!(
            ports(&crossed, false),
            "127.0.0.1:1->5/udp, 127.0.0.1:2->7/udp"
        );
    }

    #[test]
    fn filters_choose_by_what_a_container_is() {
        let names = |given: &[&str]| {
            let given = given.iter().map(|text| filter::filter(text).unwrap());
            let filters = Filters::new(given.collect(), &FILTERS).unwrap();
            let fitting = containers()
                .into_iter()
                .filter(|container| fits(&filters, container));
            fitting.map(|container| container.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["label=tier"]), ["web"]);
        assert_eq!(names(&["label=tier=front", "status=running"]), ["web"]);
        assert_eq!(names(&["exited=3"]), ["once"]);
        assert_eq!(names(&["status=exited", "status=running"]), ["web", "once"]);
        assert_eq!(names(&["network=lab"]), ["web"]);
        assert_eq!(names(&["id=bb"]), ["once"]);
        assert_eq!(names(&["name=e"]), ["web", "once"]);
        assert!(names(&["name=e", "label=x"]).is_empty());
    }

    #[test]
    fn who_waits_to_be_started_again_is_restarting() {
        let mut once = containers().remove(1);
        once.restarting = true;
        assert_eq!(status(&once, 5), "Restarting (3) 5 seconds ago");
        assert_eq!(status_word(&once), "restarting");
    }

    #[test]
    fn a_container_whose_network_is_gone_is_not_just_up() {
        let cut_off = ContainerSummary {
            cut_off: Some("network \"far\" was removed".into()),
            ..containers().remove(0)
        };
        assert_eq!(status(&cut_off, 5), "Cut off 5 seconds");
    }

    #[test]
    fn published_everywhere_shows_both_families() {
        let mapping = PortMapping {
            host_ip: None,
            host_port: 53,
            container_port: 5353,
            protocol: TransportProtocol::Udp,
        };
        assert_eq!(
            ports(&[mapping], false),
            "0.0.0.0:53->5353/udp, [::]:53->5353/udp"
        );
    }
}
