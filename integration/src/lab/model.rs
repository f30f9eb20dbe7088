//! A lab, whichever format it was written in: nodes, and the segments between their interfaces.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agent_api::{DnsServer, LinkSettings, PortMapping, RestartPolicy};
use ipnet::IpNet;

use super::engine::Image;
use super::images::Base;

/// Everything that a lab's files say, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Lab {
    pub name: String,
    pub format: Format,
    pub file: PathBuf,
    /// The network of every node's `eth0`; Kathara has none.
    pub management: Option<Management>,
    /// In the order of the file.
    pub nodes: Vec<Node>,
    pub segments: Vec<Segment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Containerlab,
    Kathara,
}

/// A network with a way out, which labs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    pub network: String,
    pub subnets: Vec<IpNet>,
    pub gateways: Vec<std::net::IpAddr>,
    pub mtu: Option<u16>,
}

/// A machine of the lab: a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub name: String,
    /// What the container is called.
    pub container: String,
    pub kind: String,
    pub image: Option<String>,
    pub runs: Runs,
    pub group: Option<String>,
    pub network: NodeNetwork,
    /// In the order of their links.
    pub interfaces: Vec<Interface>,
    pub management_ip: Option<std::net::Ipv4Addr>,
    pub management_ip6: Option<std::net::Ipv6Addr>,
    pub hostname: String,
    pub aliases: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub sysctls: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub cap_add: Vec<String>,
    /// `HOST:NODE` or `HOST:NODE:ro`, the host's side absolute.
    pub binds: Vec<String>,
    /// Directories whose content is copied over the host's files at each start.
    pub copies: Vec<PathBuf>,
    pub publish: Vec<PortMapping>,
    pub dns: Vec<DnsServer>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    pub restart: RestartPolicy,
    /// Bytes.
    pub memory: Option<u64>,
    pub nano_cpus: Option<u64>,
    /// What its first shell does; see [`super::script`].
    pub script: String,
    /// Whether it has something to do before it is ready.
    pub has_tasks: bool,
    /// Seconds that it has for what it does at its end; none where it does nothing.
    pub stop_timeout_s: u32,
}

/// Whose programs a node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// This host's, on files of its own.
    Host(&'static Base),
    /// Those of an image, in a container of an engine that is on the node's links.
    Image(Box<Image>),
}

/// Beside the links, what a node is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeNetwork {
    /// The lab's management network.
    Management,
    /// Nothing.
    Links,
    /// After its links, the network `bridge`.
    Bridged,
    /// The host's own namespace; no links.
    Host,
    /// Another container's; no links.
    Container(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// Which of the lab's segments it is on.
    pub segment: usize,
    pub mac: String,
    pub addresses: Vec<IpNet>,
    /// What goes wrong at this end of its link.
    pub impairments: LinkSettings,
}

/// What interfaces are joined by: a network of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What the network is called.
    pub network: String,
    /// What people call it: a bridge's or a domain's name, or the two ends.
    pub name: String,
    pub kind: SegmentKind,
    /// Bytes of a packet; as the way to the other host has it where absent.
    pub mtu: Option<u16>,
    /// What ends of it are called in the host's own namespace.
    pub host_links: Vec<String>,
    /// Where it goes on, on another host.
    pub vxlan: Option<Vxlan>,
}

/// A link's way to another host (RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    pub remote: std::net::IpAddr,
    pub vni: u32,
    pub dstport: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Two ends, or one that leads nowhere.
    Wire,
    /// A learning switch with any number of ports.
    Bridge,
}

impl Lab {
    /// The ends of a segment, as nodes and their interfaces.
    pub fn ends(&self, segment: usize) -> impl Iterator<Item = (&Node, &Interface)> {
        self.nodes.iter().flat_map(move |node| {
            let here = node.interfaces.iter();
            here.filter(move |interface| interface.segment == segment)
                .map(move |interface| (node, interface))
        })
    }

    /// Packages that the host lacks, of which no program `is_there`, and the nodes that want them.
    pub fn missing(&self, is_there: &dyn Fn(&str) -> bool) -> BTreeMap<&'static str, Vec<&str>> {
        let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for node in &self.nodes {
            let Runs::Host(base) = &node.runs else {
                continue;
            };
            for package in base.missing(is_there) {
                missing.entry(package).or_default().push(&node.name);
            }
        }
        missing
    }

    /// The nodes that run an image, with what runs there.
    pub fn images(&self) -> impl Iterator<Item = (&Node, &Image)> {
        self.nodes.iter().filter_map(|node| match &node.runs {
            Runs::Image(image) => Some((node, &**image)),
            Runs::Host(_) => None,
        })
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|node| node.name == name || node.container == name)
    }
}
