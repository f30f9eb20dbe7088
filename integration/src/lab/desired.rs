//! A lab in the agent's words: the networks and containers that it comes to.

use std::collections::BTreeMap;

use agent_api::{
    ContainerCreate, EndpointSettings, LinkSettings, NetworkAttachment, NetworkCreate, NetworkMode,
};

use super::engine::{Guest, Image, Runtime};
use super::model::{Format, Lab, Node, NodeNetwork, Runs, Segment, SegmentKind};
use super::translate::digest;
use crate::driver::driver_for;

/// What the agent is to have of a lab.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub lab: String,
    /// What other labs may have made already.
    pub management: Option<NetworkCreate>,
    pub networks: Vec<NetworkCreate>,
    /// Ends of links in the host's namespace.
    pub host_links: Vec<HostLink>,
    pub nodes: Vec<Wanted>,
}

/// An end of a link in the host's namespace, by its network and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLink {
    pub network: String,
    pub name: String,
}

/// A node's container.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub node: String,
    pub create: ContainerCreate,
    /// Whether it says when it has done what it does at its start.
    pub has_tasks: bool,
    /// What an engine runs in its namespace.
    pub guest: Option<Guest>,
}

impl Desired {
    pub fn of(lab: &Lab) -> Self {
        let networks = lab.segments.iter().map(|segment| network(lab, segment));
        Self {
            lab: lab.name.clone(),
            management: management(lab),
            networks: networks.map(|network| stamped(network, NETWORKS)).collect(),
            host_links: lab.segments.iter().flat_map(host_links).collect(),
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
    let mut options = pairs(&options);
    if let Some(vxlan) = &segment.vxlan {
        options.extend(pairs(&[
            ("encap", "vxlan"),
            ("vni", &vxlan.vni.to_string()),
            ("remote", &vxlan.remote.to_string()),
            ("dstport", &vxlan.dstport.to_string()),
        ]));
    }
    NetworkCreate {
        name: segment.network.clone(),
        driver: driver_for(&options),
        without_addresses: true,
        internal: true,
        mtu: segment.mtu,
        options,
        labels: pairs(&[(LAB, &lab.name), (LINK, &segment.name)]),
        ..NetworkCreate::default()
    }
}

fn host_links(segment: &Segment) -> impl Iterator<Item = HostLink> {
    segment.host_links.iter().map(|name| HostLink {
        network: segment.network.clone(),
        name: name.clone(),
    })
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
                mac: Some(interface.mac.clone()),
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
    let guest = match &node.runs {
        Runs::Host(_) => None,
        Runs::Image(image) => Some(guest(lab, node, image)),
    };
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
        cap_add: capabilities(node),
        memory: node.memory,
        nano_cpus: node.nano_cpus,
        labels: labels(lab, node),
        ..ContainerCreate::default()
    };
    let create = match &guest {
        None => create,
        Some(guest) => host_of(create, guest),
    };
    Wanted {
        node: node.name.clone(),
        create: stamped_container(create, guest.as_ref()),
        has_tasks: node.has_tasks,
        guest,
    }
}

fn capabilities(node: &Node) -> Vec<String> {
    let all = CAPABILITIES.iter().map(|name| (*name).to_owned());
    all.chain(node.cap_add.iter().cloned()).collect()
}

/// What the engine's container has, which the agent's goes without.
fn guest(lab: &Lab, node: &Node, image: &Image) -> Guest {
    let list = |map: BTreeMap<String, String>| {
        let entries = map.into_iter();
        entries
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    };
    let [_, sysctls] = parted(node.sysctls.clone());
    Guest {
        image: image.clone(),
        hostname: node.hostname.clone(),
        env: list(node.env.clone()),
        binds: node.binds.clone(),
        copies: node.copies.clone(),
        sysctls: list(sysctls),
        cap_add: capabilities(node),
        restart: node.restart.to_string(),
        memory: node.memory,
        nano_cpus: node.nano_cpus,
        labels: list(labels(lab, node)),
        is_host: node.network == NodeNetwork::Host,
    }
}

/// The agent's container with the namespace that the image is run in.
fn host_of(create: ContainerCreate, guest: &Guest) -> ContainerCreate {
    let [sysctls, _] = parted(create.sysctls);
    let mut labels = create.labels;
    if let Some(runtime) = guest.image.runtime {
        labels.insert(RUNTIME.to_owned(), runtime.to_string());
    }
    if let Some(line) = &guest.image.at_end {
        labels.insert(END.to_owned(), line.clone());
    }
    ContainerCreate {
        env: Vec::new(),
        binds: Vec::new(),
        copies: Vec::new(),
        memory: None,
        nano_cpus: None,
        sysctls,
        labels,
        ..create
    }
}

/// Kernel settings of a network namespace, and others.
fn parted(sysctls: BTreeMap<String, String>) -> [BTreeMap<String, String>; 2] {
    let (of_net, others) = sysctls
        .into_iter()
        .partition(|(name, _)| name.starts_with("net."));
    [of_net, others]
}

/// Which engine has the counterpart of a container of the agent's.
pub fn runtime_of(labels: &BTreeMap<String, String>) -> Option<Runtime> {
    labels.get(RUNTIME)?.parse().ok()
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
            (TOPO_FILE, &file),
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

/// The same but for its further networks and what goes wrong at its links, which come and go while it runs, for where its
/// file lies, and for who runs its image.
fn stamped_container(mut create: ContainerCreate, guest: Option<&Guest>) -> ContainerCreate {
    let mut kept = ContainerCreate {
        networks: Vec::new(),
        ..create.clone()
    };
    kept.endpoint.impairments = LinkSettings::default();
    for label in [FILE, TOPO_FILE, RUNTIME] {
        kept.labels.remove(label);
    }
    let is_kept = |entry: &String| !entry.starts_with("CLAB_INTFS=");
    kept.env.retain(is_kept);
    let mut text = serde_json::to_string(&kept).unwrap_or_default();
    if let Some(guest) = guest {
        let mut guest = guest.clone();
        guest.env.retain(is_kept);
        let names_file = |label: &String| {
            let names = [FILE, TOPO_FILE].iter();
            names
                .copied()
                .any(|name| label.split('=').next() == Some(name))
        };
        guest.labels.retain(|label| !names_file(label));
        text += &serde_json::to_string(&guest).unwrap_or_default();
    }
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
/// Of containers whose node runs an image: who runs it, and a line for a shell there at its end.
const RUNTIME: &str = "tapestry.lab.runtime";
pub(super) const END: &str = "tapestry.lab.end";
/// containerlab's own, for the same as [`FILE`].
const TOPO_FILE: &str = "clab-topo-file";
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
