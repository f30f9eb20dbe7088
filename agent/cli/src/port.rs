//! `tapestry port`: which host ports lead to a container; what is attached to a network's switch, how that treats it, and what went
//! through.

mod set;
mod show;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use agent_api::{Client, ContainerDetail, PortMapping, PortView, TransportProtocol};

use crate::failure::Failure;
use crate::listing::{OfNetwork, Sheet};
use crate::{output, ps, publish};

/// Show a container's published ports, or a network's ports of its switch
///
/// With a container, its published ports. With ls, set, show, up or down, the ports of a network's switch; a container that is
/// called so is meant by its id.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The container's name or id
    #[arg(required = true)]
    container: Option<String>,
    /// Only where this port of the container is published
    #[arg(value_name = "PORT[/udp]", value_parser = publish::port)]
    container_port: Option<(u16, TransportProtocol)>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the ports of a network's switch and their counters
    Ls(OfNetwork),
    Set(set::Args),
    Show(show::Args),
    /// Plug an endpoint's port in again, or open one that is blocked for a BPDU
    Up(Place),
    /// Plug an endpoint's port out: its link has no carrier until it is up again
    Down(Place),
}

// Not a doc comment: clap would show it as the text of each command.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The network's name or id
    network: String,
    /// The port's number, as `port ls` shows it
    port: u32,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    match args.verb {
        Some(Verb::Ls(of)) => of.listing.print(&client.ports(&of.network).await?, &SHEET),
        Some(Verb::Set(args)) => set::run(args, client).await,
        Some(Verb::Show(args)) => show::run(args, client).await,
        Some(Verb::Up(place)) => set_up(&place, true, client).await,
        Some(Verb::Down(place)) => set_up(&place, false, client).await,
        None => {
            let container = client
                .container(&args.container.unwrap_or_default())
                .await?;
            output::print(&published(&container, args.container_port)?)?;
            Ok(0)
        }
    }
}

/// As `docker port` writes it.
fn published(
    container: &ContainerDetail,
    only: Option<(u16, TransportProtocol)>,
) -> Result<String, Failure> {
    let mut mappings = ps::published(&container.summary).to_vec();
    mappings.sort_by_key(|mapping| (mapping.container_port, mapping.protocol, mapping.host_ip));
    let Some((port, protocol)) = only else {
        let lines = mappings.iter().flat_map(|mapping| {
            let port = (mapping.container_port, output::word(mapping.protocol));
            let lines = host_addresses(mapping).into_iter();
            lines.map(move |host| format!("{}/{} -> {host}\n", port.0, port.1))
        });
        return Ok(lines.collect());
    };
    mappings.retain(|mapping| (mapping.container_port, mapping.protocol) == (port, protocol));
    if mappings.is_empty() {
        let name = &container.summary.name;
        let protocol = output::word(protocol);
        return Err(Failure::said(format!(
            "no public port '{port}/{protocol}' published for {name}; `tapestry port {name}` lists all"
        )));
    }
    let hosts = mappings.iter().flat_map(host_addresses);
    Ok(hosts.map(|host| format!("{host}\n")).collect())
}

/// With the host's port; of both families where it is published everywhere.
pub(crate) fn host_addresses(mapping: &PortMapping) -> Vec<SocketAddr> {
    let everywhere = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    let addresses = mapping.host_ip.map_or(everywhere.to_vec(), |ip| vec![ip]);
    let hosts = addresses.into_iter();
    hosts
        .map(|ip| SocketAddr::new(ip, mapping.host_port))
        .collect()
}

async fn set_up(place: &Place, up: bool, client: &Client) -> Result<u8, Failure> {
    let network = client.network(&place.network).await?;
    let mut endpoints = network.endpoints.iter();
    let Some(endpoint) = endpoints.find(|endpoint| endpoint.port == Some(place.port)) else {
        return Err(Failure::said(format!(
            "no endpoint has port {} of network {:?}; `tapestry port ls {}` lists them",
            place.port, place.network, place.network
        )));
    };
    client.set_endpoint_up(&endpoint.id, up).await?;
    Ok(0)
}

fn rows(port: &PortView) -> Vec<Vec<String>> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![vec![
        port.port.to_string(),
        port.kind.clone(),
        port.owner.clone(),
        port.state.clone(),
        or_dash(&port.link),
        or_dash(&port.tap_driver),
        or_dash(&port.rate),
        port.rx_frames.to_string(),
        port.rx_bytes.to_string(),
        port.tx_frames.to_string(),
        port.tx_bytes.to_string(),
        drops(&port.drops),
    ]]
}

const SHEET: Sheet<PortView> = Sheet {
    columns: &[
        ("Port", "PORT"),
        ("Kind", "KIND"),
        ("Owner", "OWNER"),
        ("State", "STATE"),
        ("Link", "LINK"),
        ("TapDriver", "TAP DRIVER"),
        ("Rate", "RATE"),
        ("RxFrames", "RX FRAMES"),
        ("RxBytes", "RX BYTES"),
        ("TxFrames", "TX FRAMES"),
        ("TxBytes", "TX BYTES"),
        ("Drops", "DROPS"),
    ],
    called: 0,
    rows,
};

/// `reason=count`, in the reasons' order.
fn drops(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "0".to_owned();
    }
    let shown = counts
        .iter()
        .map(|(reason, count)| format!("{reason}={count}"));
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::table;

    fn container(state: &str) -> ContainerDetail {
        let detail = serde_json::json!({
            "id": "c1", "name": "web", "command": ["httpd"], "created_s": 1, "since_s": 2, "networks": ["lab"],
            "state": {"status": state, "pid": 7, "code": 0},
            "publish": [
                {"host_ip": null, "host_port": 8080, "container_port": 80, "protocol": "tcp", "ports": 2},
                {"host_ip": "127.0.0.1", "host_port": 53, "container_port": 53, "protocol": "udp"},
                {"host_ip": "127.0.0.1", "host_port": 9000, "container_port": 80, "protocol": "tcp"},
            ],
            "hostname": "web", "network_mode": {"mode": "default"}, "capabilities": [], "privileged": false,
            "endpoints": [], "sandbox": null, "attach": "/a", "log": "/l",
        });
        serde_json::from_value(detail).unwrap()
    }

    #[test]
    fn published_ports_are_listed_as_docker_lists_them() {
        insta::assert_snapshot!(published(&container("running"), None).unwrap(), @r"
        53/udp -> 127.0.0.1:53
        80/tcp -> 0.0.0.0:8080
        80/tcp -> [::]:8080
        80/tcp -> 127.0.0.1:9000
        81/tcp -> 0.0.0.0:8081
        81/tcp -> [::]:8081
        ");
        let one = |port| published(&container("running"), Some((port, TransportProtocol::Tcp)));
        insta::assert_snapshot!(one(80).unwrap(), @r"
        0.0.0.0:8080
        [::]:8080
        127.0.0.1:9000
        ");
        let none = one(53).unwrap_err().to_string();
        assert!(
            none.contains("no public port '53/tcp' published for web"),
            "{none}"
        );
        assert_eq!(published(&container("exited"), None).unwrap(), "");
    }

    #[test]
    fn drops_are_told_by_reason() {
        let port = PortView {
            port: 1,
            kind: "tap".into(),
            owner: "web".into(),
            state: "blocked (loop)".into(),
            link: Some("eth0".into()),
            tap_driver: Some("offload".into()),
            rate: Some("ingress 100mbit".into()),
            rx_frames: 10,
            rx_bytes: 1400,
            tx_frames: 9,
            tx_bytes: 900,
            drops: [("storm".to_owned(), 2), ("guard".to_owned(), 1)].into(),
        };
        let edge = PortView {
            port: 0,
            kind: "edge".into(),
            state: "up".into(),
            link: None,
            tap_driver: None,
            rate: None,
            drops: BTreeMap::new(),
            ..port.clone()
        };
        insta::assert_snapshot!(table(&[edge, port], &SHEET));
    }
}
