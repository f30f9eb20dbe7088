//! What is to be done so that the agent has a lab as its file says.
//!
//! # Theory of operation
//!
//! A pure difference between what is [`Desired`] and what is [`Present`]. Networks and containers of a lab carry its name in a
//! label, and in another one a number of what they were made from: where that differs, the thing is made again. Links come and
//! go while nodes run, since a container may be connected and disconnected; so adding a link restarts nobody. Nor does a change of
//! what goes wrong at one.
//!
//! The parts are done in their order, each part at once: what is to go first, then networks, then containers, which have
//! all their links when they are made, then they are started.

use std::collections::{BTreeMap, BTreeSet};

use agent_api::{
    Connect, ContainerState, ContainerSummary, EndpointDetail, LinkDetail, LinkSettings,
    LinkUpdate, NetworkCreate, NetworkMode, NetworkSummary,
};

use super::desired::{Desired, HostLink, LAB, LINK, NODE, STAMP, Wanted, runtime_of};
use super::engine::Runtime;

/// What the agent has of a lab.
#[derive(Clone, Debug, Default)]
pub struct Present {
    pub networks: Vec<NetworkSummary>,
    pub containers: Vec<ContainerSummary>,
    /// Of all containers, the lab's and others.
    pub endpoints: Vec<EndpointDetail>,
    /// What goes wrong at theirs.
    pub links: Vec<LinkDetail>,
    /// Names of all networks, the lab's and others.
    pub all_networks: BTreeSet<String>,
    /// Those containers of nodes with images of which the engine runs the image, on the node's links.
    pub well: BTreeSet<String>,
}

/// What is to be done, by parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What engines run, before the containers whose links it is on.
    pub remove_guests: Vec<(Runtime, String)>,
    pub remove_containers: Vec<String>,
    /// Ids of endpoints in the host's namespace.
    pub remove_host_links: Vec<String>,
    /// Networks and the containers that leave them.
    pub disconnect: Vec<(String, String)>,
    pub remove_networks: Vec<String>,
    /// Shared with other labs, which may make it at the same time.
    pub create_management: Option<NetworkCreate>,
    pub create_networks: Vec<NetworkCreate>,
    pub create_host_links: Vec<HostLink>,
    pub create_containers: Vec<Wanted>,
    /// Networks that running containers join.
    pub connect: Vec<(String, Connect)>,
    /// Ids of endpoints of running containers, and what is to go wrong there.
    pub impair: Vec<(String, LinkUpdate)>,
    /// Those that were made.
    pub start: Vec<Wanted>,
    /// The same for people, a line each.
    lines: Vec<String>,
}

impl Present {
    /// Of one lab, out of everything that the agent lists.
    pub fn of(
        lab: &str,
        networks: Vec<NetworkSummary>,
        containers: Vec<ContainerSummary>,
        endpoints: Vec<EndpointDetail>,
        links: Vec<LinkDetail>,
    ) -> Self {
        let is_of =
            |labels: &BTreeMap<String, String>| labels.get(LAB).is_some_and(|name| name == lab);
        let all_networks = networks
            .iter()
            .map(|network| network.name.clone())
            .collect();
        Self {
            networks: networks
                .into_iter()
                .filter(|network| is_of(&network.labels))
                .collect(),
            containers: containers
                .into_iter()
                .filter(|container| is_of(&container.labels))
                .collect(),
            endpoints,
            links,
            all_networks,
            well: BTreeSet::new(),
        }
    }

    /// The containers whose node runs an image, and who runs it.
    pub fn guests(&self) -> Vec<(&ContainerSummary, Runtime)> {
        let all = self.containers.iter();
        all.filter_map(|container| Some((container, runtime_of(&container.labels)?)))
            .collect()
    }

    /// Ends of the lab's links in the host's namespace: whoever is on one of its networks and no container.
    pub fn host_links(&self) -> impl Iterator<Item = &EndpointDetail> {
        self.endpoints.iter().filter(|endpoint| {
            let is_of_lab = self
                .networks
                .iter()
                .any(|network| network.name == endpoint.network);
            let is_node = self
                .containers
                .iter()
                .any(|container| container.name == endpoint.name);
            is_of_lab && !is_node
        })
    }

    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.containers.is_empty()
    }

    /// Networks that a container is on, and by which interface.
    fn links_of<'p>(&'p self, container: &'p str) -> impl Iterator<Item = (&'p str, &'p str)> {
        self.endpoints
            .iter()
            .filter(move |endpoint| endpoint.name == container)
            .map(|endpoint| (endpoint.network.as_str(), endpoint.link.as_str()))
    }
}

impl Plan {
    /// The difference. Nothing is to be done where all is as it should be.
    pub fn of(desired: &Desired, present: &Present) -> Self {
        let mut plan = Self::default();
        let renewed = plan.networks(desired, present);
        plan.host_links(desired, present, &renewed);
        for container in &present.containers {
            let name = &container.name;
            if !desired.nodes.iter().any(|wanted| wanted.name() == name) {
                plan.remove_containers.push(name.clone());
                plan.say('-', "node", node_of(container));
            }
        }
        for wanted in &desired.nodes {
            let known = present
                .containers
                .iter()
                .find(|container| container.name == wanted.name());
            plan.node(wanted, known, present, &renewed);
        }
        let joins = |wanted: &Wanted| matches!(wanted.create.network, NetworkMode::Container(_));
        plan.create_containers.sort_by_key(joins);
        plan.start.sort_by_key(joins);
        let missing = desired.management.as_ref();
        let missing = missing.filter(|network| !present.all_networks.contains(&network.name));
        plan.create_management = missing.cloned();
        if let Some(network) = missing {
            plan.say('+', "network", &network.name);
        }
        let guests = present.guests().into_iter();
        let guests =
            guests.filter(|(container, _)| plan.remove_containers.contains(&container.name));
        plan.remove_guests = guests
            .map(|(container, runtime)| (runtime, container.name.clone()))
            .collect();
        plan
    }

    /// All of it away.
    pub fn down(present: &Present) -> Self {
        let nothing = Desired {
            lab: String::new(),
            management: None,
            networks: Vec::new(),
            host_links: Vec::new(),
            nodes: Vec::new(),
        };
        Self::of(&nothing, present)
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it comes to, a line each: `+` is made, `-` goes, `~` is made again or, of an impairment, changed.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// How many things are to be done.
    pub fn steps(&self) -> usize {
        self.remove_guests.len()
            + self.remove_containers.len()
            + self.remove_host_links.len()
            + self.disconnect.len()
            + self.remove_networks.len()
            + usize::from(self.create_management.is_some())
            + self.create_networks.len()
            + self.create_host_links.len()
            + self.create_containers.len()
            + self.connect.len()
            + self.impair.len()
            + self.start.len()
            + self
                .start
                .iter()
                .filter(|wanted| wanted.guest.is_some())
                .count()
    }

    /// Returns those that are there and go, also to be made again.
    fn networks(&mut self, desired: &Desired, present: &Present) -> BTreeSet<String> {
        let mut gone = BTreeSet::new();
        for network in &present.networks {
            let wanted = desired
                .networks
                .iter()
                .find(|wanted| wanted.name == network.name);
            let is_same =
                wanted.is_some_and(|wanted| wanted.labels.get(STAMP) == network.labels.get(STAMP));
            if is_same {
                continue;
            }
            let sign = if wanted.is_some() { '~' } else { '-' };
            self.say(sign, "link", link_of(&network.name, &network.labels));
            self.remove_networks.push(network.name.clone());
            gone.insert(network.name.clone());
        }
        for wanted in &desired.networks {
            let is_there = present
                .networks
                .iter()
                .any(|network| network.name == wanted.name);
            if !is_there {
                self.say('+', "link", link_of(&wanted.name, &wanted.labels));
            }
            if !is_there || gone.contains(&wanted.name) {
                self.create_networks.push(wanted.clone());
            }
        }
        gone
    }

    /// Those of a network that goes are gone before it.
    fn host_links(&mut self, desired: &Desired, present: &Present, gone: &BTreeSet<String>) {
        let is = |wanted: &HostLink, known: &EndpointDetail| {
            wanted.network == known.network && wanted.name == known.name
        };
        for known in present.host_links() {
            let is_wanted = desired.host_links.iter().any(|wanted| is(wanted, known));
            if !is_wanted || gone.contains(&known.network) {
                self.remove_host_links.push(known.id.clone());
            }
            if !is_wanted && !gone.contains(&known.network) {
                self.say('-', "interface", &format!("host:{}", known.name));
            }
        }
        for wanted in &desired.host_links {
            let mut known = present.host_links();
            if gone.contains(&wanted.network) || !known.any(|known| is(wanted, known)) {
                self.say('+', "interface", &format!("host:{}", wanted.name));
                self.create_host_links.push(wanted.clone());
            }
        }
    }

    fn node(
        &mut self,
        wanted: &Wanted,
        known: Option<&ContainerSummary>,
        present: &Present,
        gone: &BTreeSet<String>,
    ) {
        let Some(known) = known else {
            self.say('+', "node", &wanted.node);
            self.create_containers.push(wanted.clone());
            self.start.push(wanted.clone());
            return;
        };
        let is_same = known.labels.get(STAMP) == wanted.create.labels.get(STAMP);
        let loses_main = wanted
            .main_network()
            .is_some_and(|name| gone.contains(name));
        // What has ended has lost its files and its links, so it may as well be made again.
        let runs = matches!(known.state, ContainerState::Running { .. })
            && (wanted.guest.is_none() || present.well.contains(&known.name));
        if !is_same || loses_main || !runs {
            self.say('~', "node", &wanted.node);
            self.remove_containers.push(known.name.clone());
            self.create_containers.push(wanted.clone());
            self.start.push(wanted.clone());
            return;
        }
        self.links(wanted, present, gone);
        self.impairments(wanted, present);
    }

    /// Of a node that runs on.
    fn links(&mut self, wanted: &Wanted, present: &Present, gone: &BTreeSet<String>) {
        let name = wanted.name();
        let has: BTreeMap<&str, &str> = present.links_of(name).collect();
        let stays = |network: &str, link: Option<&str>| {
            let attachment = wanted
                .attachments()
                .iter()
                .find(|attachment| attachment.network == network);
            let is_so =
                attachment.is_some_and(|attachment| attachment.settings.ifname.as_deref() == link);
            is_so && !gone.contains(network)
        };
        for (network, link) in &has {
            if Some(*network) != wanted.main_network() && !stays(network, Some(link)) {
                self.disconnect
                    .push(((*network).to_owned(), name.to_owned()));
                if !self.remove_networks.iter().any(|gone| gone == network) {
                    self.say('-', "interface", &format!("{}:{link}", wanted.node));
                }
            }
        }
        for attachment in wanted.attachments() {
            let network = attachment.network.as_str();
            if has
                .get(network)
                .is_some_and(|link| stays(network, Some(link)))
            {
                continue;
            }
            let connect = Connect {
                container: name.to_owned(),
                settings: attachment.settings.clone(),
            };
            self.connect.push((network.to_owned(), connect));
            if !self.create_networks.iter().any(|made| made.name == network) {
                let interface = attachment.settings.ifname.as_deref().unwrap_or_default();
                self.say('+', "interface", &format!("{}:{interface}", wanted.node));
            }
        }
    }

    /// What goes wrong at links that stay. A seed that nobody chose is the agent's.
    fn impairments(&mut self, wanted: &Wanted, present: &Present) {
        for (network, settings) in wanted.all_links() {
            let has = present.links.iter().find(|link| {
                link.name == wanted.name()
                    && link.network == network
                    && settings.ifname.as_deref() == Some(link.link.as_str())
            });
            let leaves = |(left, name): &(String, String)| left == network && name == wanted.name();
            let Some(has) = has.filter(|_| !self.disconnect.iter().any(leaves)) else {
                continue;
            };
            let wished = settings.impairments;
            if is_same(&has.settings, &wished) {
                continue;
            }
            let update = LinkUpdate {
                to: Some(wished.to),
                from: Some(wished.from),
                modify: false,
                seed: wished.seed,
            };
            self.impair.push((has.endpoint.clone(), update));
            self.say('~', "impairment", &format!("{}:{}", wanted.node, has.link));
        }
    }

    fn say(&mut self, sign: char, what: &str, name: &str) {
        self.lines.push(format!("{sign} {what} {name}"));
    }
}

fn is_same(has: &LinkSettings, wished: &LinkSettings) -> bool {
    let is_seed = wished.seed.is_none() || wished.seed == has.seed;
    let is_so = has.to == wished.to && has.from == wished.from && is_seed;
    is_so || (has.are_none() && wished.are_none())
}

fn node_of(container: &ContainerSummary) -> &str {
    container.labels.get(NODE).unwrap_or(&container.name)
}

fn link_of<'l>(name: &'l str, labels: &'l BTreeMap<String, String>) -> &'l str {
    labels.get(LINK).map_or(name, String::as_str)
}
