//! A fat tree of ten pods, routed. 1,000 nodes: 25 routers in the core, 50 in the pods, 50 bridges at the edge and 875 hosts; 1,375
//! links.
//!
//! Core router `c{group}-{number}` has a link to the router of its group in each pod, `a{pod}-{group}`, and that one has a link to each bridge
//! of its pod, `e{pod}-{edge}`. A bridge's hosts are `10.POD.EDGE.10` and up; the pod's routers are their gateways, in turn. Every way up is
//! one of several of equal cost. Bridges are only at the edge, so that no frame can go in a circle.

use std::collections::BTreeMap;
use std::fmt::Write;

const PODS: usize = 10;
/// Routers of a pod, its bridges, and routers of a group of the core.
const HALF: usize = PODS / 2;
const EDGES: usize = PODS * HALF;
const HOSTS: usize = 875;
/// Hosts that ping each other.
const SAMPLE: usize = 20;
/// The first host's last byte.
const FIRST: usize = 10;

/// In containerlab's format.
pub(super) fn clab_file() -> String {
    let mut tree = Tree::default();
    (0..EDGES).for_each(|edge| tree.add_edge(edge));
    for pod in 0..PODS {
        (0..HALF).for_each(|group| tree.add_router(pod, group));
    }
    tree.text()
}

/// A node and what it runs: a sample of hosts, each of which pings all others of it.
pub(super) fn pings() -> Vec<(String, String)> {
    let sample: Vec<usize> = (0..SAMPLE).map(|number| number * HOSTS / SAMPLE).collect();
    let ping = |from: usize| {
        let others = sample.iter().filter(|to| **to != from);
        let addresses: Vec<String> = others.map(|to| address(*to)).collect();
        let addresses = addresses.join(" ");
        let script =
            format!("for to in {addresses}; do ping -c1 -W5 $to >/dev/null || exit 1; done");
        (format!("h{from}"), script)
    };
    sample.iter().map(|from| ping(*from)).collect()
}

/// Of a host, by its number.
fn address(host: usize) -> String {
    let mut edges = (0..EDGES).filter(|edge| hosts_of(*edge).contains(&host));
    let edge = edges.next().unwrap_or_default();
    let place = host - hosts_of(edge).start;
    format!("10.{}.{}.{}", edge / HALF, edge % HALF, FIRST + place)
}

fn hosts_of(edge: usize) -> std::ops::Range<usize> {
    HOSTS * edge / EDGES..HOSTS * (edge + 1) / EDGES
}

#[derive(Default)]
struct Tree {
    /// By node, what it runs.
    commands: BTreeMap<String, Vec<String>>,
    bridges: Vec<String>,
    links: Vec<(String, String)>,
}

impl Tree {
    fn run(&mut self, node: &str, command: String) {
        let commands = self.commands.entry(node.to_owned()).or_default();
        commands.push(command);
    }

    fn add_edge(&mut self, edge: usize) {
        let (pod, number) = (edge / HALF, edge % HALF);
        let bridge = format!("e{pod}-{number}");
        for (place, host) in hosts_of(edge).enumerate() {
            let name = format!("h{host}");
            let own = address(host);
            self.run(&name, format!("ip address add {own}/24 dev eth1"));
            let gateway = format!("10.{pod}.{number}.{}", 1 + place % HALF);
            self.run(&name, format!("ip route add default via {gateway}"));
            let port = format!("{bridge}:p{place}");
            self.links.push((format!("{name}:eth1"), port));
        }
        self.bridges.push(bridge);
    }

    /// Of a pod and a group, with its links down to the bridges and up to the core.
    fn add_router(&mut self, pod: usize, group: usize) {
        let name = format!("a{pod}-{group}");
        for edge in 0..HALF {
            let own = format!("10.{pod}.{edge}.{}", 1 + group);
            self.run(&name, format!("ip address add {own}/24 dev down{edge}"));
            let port = format!("e{pod}-{edge}:u{group}");
            self.links.push((format!("{name}:down{edge}"), port));
        }
        let mut ways = String::new();
        for number in 0..HALF {
            let core = format!("c{group}-{number}");
            let net = format!("10.{}.{number}", 100 + group);
            let (above, below) = (2 * pod, 2 * pod + 1);
            self.run(
                &name,
                format!("ip address add {net}.{below}/31 dev up{number}"),
            );
            self.run(
                &core,
                format!("ip address add {net}.{above}/31 dev pod{pod}"),
            );
            self.run(
                &core,
                format!("ip route add 10.{pod}.0.0/16 via {net}.{below}"),
            );
            self.links
                .push((format!("{name}:up{number}"), format!("{core}:pod{pod}")));
            let _ = write!(ways, " nexthop via {net}.{above}");
        }
        self.run(&name, format!("ip route add default{ways}"));
    }

    fn text(&self) -> String {
        let mut text =
            String::from("name: fat\ntopology:\n  defaults: {kind: linux, network-mode: none}\n");
        text += "  nodes:\n";
        for (node, commands) in &self.commands {
            let forwards = match node.starts_with('h') {
                true => "",
                false => "sysctls: {net.ipv4.ip_forward: 1}, ",
            };
            let commands = commands.join(", ");
            let _ = writeln!(text, "    {node}: {{{forwards}exec: [{commands}]}}");
        }
        for bridge in &self.bridges {
            let _ = writeln!(text, "    {bridge}: {{kind: bridge}}");
        }
        text += "  links:\n";
        for (one, other) in &self.links {
            let _ = writeln!(text, "    - {{endpoints: ['{one}', '{other}'], mtu: 1500}}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_1000_nodes_and_no_end_of_a_link_twice() {
        let file = clab_file();
        let (nodes, links) = file.split_once("  links:\n").unwrap();
        let named = |line: &&str| line.starts_with("    ");
        assert_eq!(nodes.lines().filter(named).count(), 1000);
        assert_eq!(links.lines().filter(named).count(), 1375);
        let ends: Vec<&str> = links
            .split('\'')
            .filter(|part| part.contains(':'))
            .collect();
        let ends = ends.into_iter().filter(|end| !end.contains(' '));
        let ends: Vec<&str> = ends.collect();
        assert_eq!(ends.len(), 2 * 1375);
        assert_eq!(ends.iter().collect::<BTreeSet<_>>().len(), 2 * 1375);
    }

    #[test]
    fn addresses_are_unique_and_the_sample_is_of_all_pods() {
        let all: BTreeSet<String> = (0..HOSTS).map(address).collect();
        assert_eq!(all.len(), HOSTS);
        let pings = pings();
        let hosts: BTreeSet<&str> = pings.iter().map(|(node, _)| node.as_str()).collect();
        assert_eq!(hosts.len(), SAMPLE);
        let (_, script) = &pings[0];
        for pod in 0..PODS {
            assert!(script.contains(&format!(" 10.{pod}.")), "{script}");
        }
        assert!(!script.contains(&format!(" {} ", address(0))));
    }
}
