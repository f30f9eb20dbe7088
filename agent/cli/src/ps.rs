//! `tapestry ps`: the containers.

use std::net::IpAddr;

use agent_api::{Client, ContainerState, ContainerSummary, PortMapping};

use crate::failure::Failure;
use crate::output;

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show those that do not run too
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let mut containers = client.containers().await?;
    if !args.all {
        containers.retain(|container| matches!(container.state, ContainerState::Running { .. }));
    }
    output::print(&listing(&args, &containers, output::now_s()))?;
    Ok(0)
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
            status(container.state, now_s.saturating_sub(container.since_s)),
            ports(published(container)),
            container.networks.join(", "),
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
    output::table(&headers, rows)
}

/// In quotes, with escapes for what is not printed, and no longer than 20 characters unless `whole`.
fn command(words: &[String], whole: bool) -> String {
    let line = words.join(" ");
    if whole || line.chars().count() <= COMMAND_LENGTH {
        return format!("{line:?}");
    }
    let start: String = line.chars().take(COMMAND_LENGTH - 1).collect();
    format!("{:?}", start + "…")
}

fn status(state: ContainerState, for_s: u64) -> String {
    let span = output::span(for_s);
    match state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running { .. } => format!("Up {span}"),
        ContainerState::Exited { code } => format!("Exited ({code}) {span} ago"),
    }
}

/// Ports are published while the command runs.
fn published(container: &ContainerSummary) -> &[PortMapping] {
    match container.state {
        ContainerState::Running { .. } => &container.publish,
        ContainerState::Created | ContainerState::Exited { .. } => &[],
    }
}

fn ports(mappings: &[PortMapping]) -> String {
    let shown = mappings.iter().map(|mapping| {
        let target = format!(
            "{}->{}/{}",
            mapping.host_port,
            mapping.container_port,
            output::word(mapping.protocol)
        );
        match mapping.host_ip {
            None => format!("0.0.0.0:{target}, [::]:{target}"),
            Some(IpAddr::V4(ip)) => format!("{ip}:{target}"),
            Some(IpAddr::V6(ip)) => format!("[{ip}]:{target}"),
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

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
            },
        ]
    }

    #[test]
    fn listing_is_a_table() {
        let args = Args {
            all: true,
            quiet: false,
            no_trunc: false,
            json: false,
        };
        insta::assert_snapshot!(listing(&args, &containers(), 1059));
    }

    #[test]
    fn published_everywhere_shows_both_families() {
        let mapping = PortMapping {
            host_ip: None,
            host_port: 53,
            container_port: 5353,
            protocol: TransportProtocol::Udp,
        };
        assert_eq!(ports(&[mapping]), "0.0.0.0:53->5353/udp, [::]:53->5353/udp");
    }
}
