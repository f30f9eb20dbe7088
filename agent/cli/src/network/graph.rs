//! `tapestry network graph`: a map of networks, what is on them, and the hosts that they lead to.

use std::collections::BTreeMap;
use std::fmt::Display;

use agent_api::{Client, NetworkDetail};
use integration::graph::{Graph as Map, Kind, dot, mermaid, svg};

use crate::failure::Failure;
use crate::output;

/// Draw a map of networks, containers and hosts
///
/// For example: tapestry network graph --all --svg > map.svg
#[derive(Debug, clap::Args)]
pub(crate) struct Graph {
    /// Every network that has a container or leads somewhere
    #[arg(long, conflicts_with = "names", required_unless_present = "names")]
    all: bool,
    /// In the language of Graphviz, which is so where nothing is said
    #[arg(long, group = "language")]
    dot: bool,
    /// In the language of Mermaid
    #[arg(long, group = "language")]
    mermaid: bool,
    /// As a drawing
    #[arg(long, group = "language")]
    svg: bool,
    /// Names or ids of networks
    #[arg(value_name = "NETWORK")]
    names: Vec<String>,
}

pub(super) async fn run(args: Graph, client: &Client) -> Result<u8, Failure> {
    let names = match args.all {
        false => args.names,
        true => {
            let networks = client.networks().await?.into_iter();
            networks.map(|network| network.id).collect()
        }
    };
    let mut networks = Vec::new();
    for name in names {
        // With the endpoints on other hosts.
        networks.push(client.network_counted(&name).await?);
    }
    if args.all {
        networks.retain(leads_somewhere);
    }
    let map = map(&networks);
    let text = match (args.mermaid, args.svg) {
        (true, _) => mermaid(&map),
        (_, true) => svg(&map),
        _ => dot(&map),
    };
    output::print(&text)?;
    Ok(0)
}

fn leads_somewhere(network: &NetworkDetail) -> bool {
    !network.endpoints.is_empty()
        || !network.remote_endpoints.is_empty()
        || !network.patches.is_empty()
}

fn map(networks: &[NetworkDetail]) -> Map {
    let mut drawing = Drawing::default();
    for network in networks {
        drawing.network(network);
    }
    for network in networks {
        drawing.stations(network);
        drawing.ways(network);
    }
    drawing.map
}

/// A map that grows, and the nodes that are on it already.
#[derive(Default)]
struct Drawing {
    map: Map,
    networks: BTreeMap<String, usize>,
    /// By whatever tells containers and hosts of one name apart.
    others: BTreeMap<(String, String), usize>,
}

impl Drawing {
    fn network(&mut self, network: &NetworkDetail) {
        let name = &network.summary.name;
        let subnets = network.subnets.iter().map(ToString::to_string);
        let lines = std::iter::once(name.clone()).chain(subnets);
        let node = self.map.add(Kind::Network, lines);
        self.networks.insert(name.clone(), node);
    }

    /// Everything that is on the network: a container on several of them is drawn once.
    fn stations(&mut self, network: &NetworkDetail) {
        let here = self.networks[&network.summary.name];
        for endpoint in &network.endpoints {
            let sandbox = endpoint.sandbox.as_ref();
            let sandbox = sandbox.map_or_else(String::new, |path| path.display().to_string());
            let node = self.other(Kind::Container, sandbox, &endpoint.name);
            let addresses = endpoint.addresses.iter().map(|address| address.addr());
            let label = labelled(&endpoint.link, addresses);
            self.map.link(here, node, &label);
        }
        for remote in &network.remote_endpoints {
            let host = self.other(Kind::Host, remote.host.clone(), &remote.host_name);
            let node = self.other(Kind::Container, remote.id.clone(), &remote.name);
            self.map
                .link(host, node, &labelled("", remote.addresses.iter()));
        }
    }

    /// Where frames go from the network other than to what is on it.
    fn ways(&mut self, network: &NetworkDetail) {
        let here = self.networks[&network.summary.name];
        if network.host_link.is_some() {
            let host = self.other(Kind::Host, String::new(), "this host");
            let label = labelled("", network.gateways.iter());
            self.map.link(host, here, &label);
        }
        let mut hosts: Vec<_> = network.remote_endpoints.iter().map(|it| &it.host).collect();
        hosts.sort();
        hosts.dedup();
        let encap = network
            .overlay
            .as_ref()
            .map_or("", |overlay| &overlay.encap);
        for host in hosts {
            let mut remotes = network.remote_endpoints.iter();
            let remote = remotes.find(|it| it.host == *host);
            let name = remote.map_or("", |remote| &remote.host_name).to_owned();
            let node = self.other(Kind::Host, host.clone(), &name);
            self.map.link(here, node, encap);
        }
        for other in &network.patches {
            // Each patch is told of at both ends.
            if network.summary.name < *other
                && let Some(there) = self.networks.get(other)
            {
                self.map.link(here, *there, "patch");
            }
        }
    }

    fn other(&mut self, kind: Kind, id: String, name: &str) -> usize {
        let map = &mut self.map;
        let key = (id, name.to_owned());
        let node = self.others.entry(key);
        *node.or_insert_with(|| map.add(kind, [name.to_owned()]))
    }
}

fn labelled<T: Display>(link: &str, addresses: impl Iterator<Item = T>) -> String {
    let words = addresses.map(|address| address.to_string());
    let words = std::iter::once(link.to_owned()).chain(words);
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the agent would say of it.
    fn network(name: &str, more: serde_json::Value) -> NetworkDetail {
        let mut detail = serde_json::json!({
            "id": name, "name": name, "driver": "bridge", "scope": "local", "labels": {},
            "subnets": ["10.1.0.0/24"], "gateways": ["10.1.0.1"], "gateway_mac": null, "ip_range": null,
            "ipv6": false, "internal": false, "mtu": 1500, "dns": [], "options": {}, "host_link": null,
            "endpoints": [], "drops": {}, "forwarder": null,
        });
        for (key, value) in more.as_object().unwrap() {
            detail[key] = value.clone();
        }
        serde_json::from_value(detail).unwrap()
    }

    fn endpoint(name: &str, link: &str, address: &str) -> serde_json::Value {
        serde_json::json!({
            "id": format!("{name}{link}"), "network": "n", "name": name, "mac": "02:00:00:00:00:01",
            "addresses": [address], "gateways": [], "link": link, "aliases": [], "sandbox": null, "publish": [], "up": true,
            "moved": false, "changed": [],
        })
    }

    #[test]
    fn a_container_on_two_networks_joins_them() {
        let front = serde_json::json!({
            "host_link": "tsy1", "patches": ["zone"],
            "endpoints": [endpoint("web", "eth0", "10.1.0.2/24")],
        });
        let zone = serde_json::json!({
            "patches": ["front"], "endpoints": [endpoint("web", "eth1", "10.2.0.2/24")],
            "remote_endpoints": [{"id": "r", "name": "db", "host": "h2", "host_name": "beta", "mac": "02:00:00:00:00:02",
                "addresses": ["10.2.0.3"]}],
        });
        let networks = [network("front", front), network("zone", zone)];
        insta::assert_snapshot!(mermaid(&map(&networks)), @r#"
        graph LR
          n0(["front<br>10.1.0.0/24"])
          n1(["zone<br>10.1.0.0/24"])
          n2["web"]
          n3[/"this host"\]
          n4[/"beta"\]
          n5["db"]
          n0 ---|"eth0 10.1.0.2"| n2
          n3 ---|"10.1.0.1"| n0
          n0 ---|"patch"| n1
          n1 ---|"eth1 10.2.0.2"| n2
          n4 ---|"10.2.0.3"| n5
          n1 --- n4
        "#);
        assert!(leads_somewhere(&networks[0]));
        assert!(!leads_somewhere(&network("empty", serde_json::json!({}))));
    }
}
