//! A lab in the agent's words: the networks and containers that it comes to.

use std::collections::BTreeMap;

use agent_api::{
    ContainerCreate, EndpointSettings, LinkSettings, NetworkAttachment, NetworkCreate, NetworkMode,
};

use super::model::{Format, Lab, Node, NodeNetwork, Segment, SegmentKind};
use super::translate::digest;

/// What the agent is to have of a lab.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub lab: String,
    /// What other labs may have made already.
    pub management: Option<NetworkCreate>,
    pub networks: Vec<NetworkCreate>,
    pub nodes: Vec<Wanted>,
}

/// A node's container.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub node: String,
    pub create: ContainerCreate,
    /// Whether it says when it has done what it does at its start.
    pub has_tasks: bool,
}

impl Desired {
    pub fn of(lab: &Lab) -> Self {
        let networks = lab.segments.iter().map(|segment| network(lab, segment));
        Self {
            lab: lab.name.clone(),
            management: management(lab),
            networks: networks.map(|network| stamped(network, NETWORKS)).collect(),
            nodes: lab.nodes.iter().map(|node| wanted(lab, node)).collect(),
        }
    }
}

impl Wanted {
    pub fn name(&self) -> &str {
        self.create.name.as_deref().unwrap_or_default()
    }

    /// The links that it gets beside the one that its mode names.
    pub(super) fn attachments(&self) -> &[NetworkAttachment] {
        &self.create.networks
    }

    /// All its links, each by its network.
    pub(super) fn all_links(&self) -> impl Iterator<Item = (&str, &EndpointSettings)> {
        let main = self.main_network();
        let main = main.map(|network| (network, &self.create.endpoint));
        let further = self.create.networks.iter();
        let further = further.map(|link| (link.network.as_str(), &link.settings));
        main.into_iter().chain(further)
    }

    /// What its mode names, if that is a network.
    pub(super) fn main_network(&self) -> Option<&str> {
        match &self.create.network {
            NetworkMode::Network(name) => Some(name),
            NetworkMode::Default => Some("bridge"),
            NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_) => None,
        }
    }
}

fn network(lab: &Lab, segment: &Segment) -> NetworkCreate {
    // On a cable, and on a domain of Kathara's, bridges talk to each other; containerlab's bridges are Linux bridges.
    let is_switch = segment.kind == SegmentKind::Bridge && lab.format == Format::Containerlab;
    let options = [
        ("transparent", if is_switch { "false" } else { "true" }),
        ("dhcp", "container"),
        ("ra", "allow"),
        ("bum", "off"),
    ];
    NetworkCreate {
        name: segment.network.clone(),
        without_addresses: true,
        internal: true,
        mtu: Some(segment.mtu),
        options: pairs(&options),
        labels: pairs(&[(LAB, &lab.name), (LINK, &segment.name)]),
        ..NetworkCreate::default()
    }
}

fn management(lab: &Lab) -> Option<NetworkCreate> {
    let management = lab.management.as_ref()?;
    Some(NetworkCreate {
        name: management.network.clone(),
        subnets: management.subnets.clone(),
        gateways: management.gateways.clone(),
        mtu: management.mtu,
        labels: pairs(&[(SHARED, "true")]),
        ..NetworkCreate::default()
    })
}

fn wanted(lab: &Lab, node: &Node) -> Wanted {
    let links = node.interfaces.iter().filter_map(|interface| {
        let segment = lab.segments.get(interface.segment)?;
        Some(NetworkAttachment {
            network: segment.network.clone(),
            settings: EndpointSettings {
                mac: interface.mac.clone(),
                ifname: Some(interface.name.clone()),
                impairments: interface.impairments,
                ..EndpointSettings::default()
            },
        })
    });
    let mut attachments = first(lab, node);
    attachments.extend(links);
    if node.network == NodeNetwork::Bridged {
        attachments.push(NetworkAttachment {
            network: "bridge".to_owned(),
            settings: EndpointSettings {
                ifname: Some(format!("eth{}", node.interfaces.len())),
                ..EndpointSettings::default()
            },
        });
    }
    let (network, endpoint, networks) = modes(node, attachments);
    let create = ContainerCreate {
        name: Some(node.container.clone()),
        hostname: Some(node.hostname.clone()),
        network,
        endpoint,
        networks,
        dns: node.dns.clone(),
        dns_search: node.dns_search.clone(),
        dns_options: node.dns_options.clone(),
        publish: node.publish.clone(),
        sysctls: node.sysctls.clone(),
        env: node
            .env
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        private_root: true,
        copies: node.copies.clone(),
        binds: node.binds.clone(),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), node.script.clone()],
        restart: node.restart,
        cap_add: CAPABILITIES
            .iter()
            .map(|name| (*name).to_owned())
            .chain(node.cap_add.iter().cloned())
            .collect(),
        memory: node.memory,
        nano_cpus: node.nano_cpus,
        labels: labels(lab, node),
        ..ContainerCreate::default()
    };
    Wanted {
        node: node.name.clone(),
        create: stamped_container(create),
        has_tasks: node.has_tasks,
    }
}

/// `eth0` of containerlab's nodes.
fn first(lab: &Lab, node: &Node) -> Vec<NetworkAttachment> {
    let management = lab.management.as_ref();
    let is_managed = node.network == NodeNetwork::Management;
    let management = management
        .filter(|_| is_managed)
        .map(|management| NetworkAttachment {
            network: management.network.clone(),
            settings: EndpointSettings {
                ip: node.management_ip,
                ip6: node.management_ip6,
                aliases: [std::slice::from_ref(&node.name), &node.aliases].concat(),
                ifname: Some("eth0".to_owned()),
                ..EndpointSettings::default()
            },
        });
    management.into_iter().collect()
}

fn modes(
    node: &Node,
    mut attachments: Vec<NetworkAttachment>,
) -> (NetworkMode, EndpointSettings, Vec<NetworkAttachment>) {
    let none = EndpointSettings::default;
    match &node.network {
        NodeNetwork::Host => (NetworkMode::Host, none(), Vec::new()),
        NodeNetwork::Container(name) => (NetworkMode::Container(name.clone()), none(), Vec::new()),
        _ if attachments.is_empty() => (NetworkMode::None, none(), Vec::new()),
        _ => {
            let first = attachments.remove(0);
            (
                NetworkMode::Network(first.network),
                first.settings,
                attachments,
            )
        }
    }
}

fn labels(lab: &Lab, node: &Node) -> BTreeMap<String, String> {
    let file = lab.file.display().to_string();
    let stop = node.stop_timeout_s.to_string();
    let mut labels = node.labels.clone();
    labels.extend(pairs(&[
        (LAB, &lab.name),
        (NODE, &node.name),
        (KIND, node.image.as_ref().unwrap_or(&node.kind)),
        (FILE, &file),
        (STOP, &stop),
    ]));
    if lab.format == Format::Containerlab {
        labels.extend(pairs(&[
            ("containerlab", &lab.name),
            ("clab-node-name", &node.name),
            ("clab-node-kind", &node.kind),
            ("clab-node-group", node.group.as_deref().unwrap_or_default()),
            ("clab-topo-file", &file),
        ]));
    }
    labels
}

/// With a label that differs when anything of it does.
fn stamped(mut network: NetworkCreate, version: &str) -> NetworkCreate {
    let text = serde_json::to_string(&network).unwrap_or_default();
    let stamp = format!("{:016x}", digest(&format!("{version}{text}")));
    network.labels.insert(STAMP.to_owned(), stamp);
    network
}

/// The same but for its further networks and what goes wrong at its links, which come and go while it runs, and for where its
/// file lies.
fn stamped_container(mut create: ContainerCreate) -> ContainerCreate {
    let mut kept = ContainerCreate {
        networks: Vec::new(),
        ..create.clone()
    };
    kept.endpoint.impairments = LinkSettings::default();
    for label in [FILE, "clab-topo-file"] {
        kept.labels.remove(label);
    }
    kept.env.retain(|entry| !entry.starts_with("CLAB_INTFS="));
    let text = serde_json::to_string(&kept).unwrap_or_default();
    let stamp = format!("{:016x}", digest(&format!("{NODES}{text}")));
    create.labels.insert(STAMP.to_owned(), stamp);
    create
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Of networks and containers: whose lab.
pub const LAB: &str = "tapestry.lab";
/// Of containers: which node, what it is, the lab's file, how long its end may take in seconds.
pub const NODE: &str = "tapestry.lab.node";
pub const KIND: &str = "tapestry.lab.kind";
pub const FILE: &str = "tapestry.lab.file";
pub const STOP: &str = "tapestry.lab.stop";
/// Of networks: what people call it.
pub const LINK: &str = "tapestry.lab.link";
/// Of networks that labs share, and that go with the last.
pub const SHARED: &str = "tapestry.lab.shared";
/// What it was made from.
pub(super) const STAMP: &str = "tapestry.lab.stamp";
/// Raised when the same file comes to something else.
const NETWORKS: &str = "1";
const NODES: &str = "1";
/// Beside Docker's: what routers, bridges and tunnels take.
const CAPABILITIES: [&str; 6] = [
    "NET_ADMIN",
    "NET_BROADCAST",
    "SYS_ADMIN",
    "SYS_NICE",
    "SYS_PTRACE",
    "IPC_LOCK",
];
