//! containerlab's file as a lab.

use std::collections::BTreeMap;
use std::path::Path;

use agent_api::{DnsServer, Impairment, LinkSettings, RestartPolicy};
use ipnet::IpNet;

use super::Environment;
use super::impairments;
use super::properties::Held;
use super::values::{self, bounded, parsed};
use crate::lab::fault::{Fault, Read, nearest, shown};
use crate::lab::images::Base;
use crate::lab::model::{
    Format, Interface, Lab, Management, Node, NodeNetwork, Segment, SegmentKind,
};
use crate::lab::script::{Program, Task, quote};
use crate::lab::wire::clab::{Clab, End, Link, Mgmt, Said};
use crate::lab::wire::words::words;

pub(super) fn lab(file: &Path, clab: Clab, env: &Environment<'_>) -> Read<Lab> {
    let name = values::name(&clab.name, "the lab's name")?;
    let prefix = match clab.prefix.as_ref().map(|(_, prefix)| prefix.as_str()) {
        None => format!("clab-{name}-"),
        Some("") => String::new(),
        Some("__lab-name") => format!("{name}-"),
        Some(prefix) => format!("{prefix}-{name}-"),
    };
    let mut building = Building {
        clab: &clab,
        env,
        labdir: env.dir.join(format!("clab-{name}")),
        management: management(&clab.mgmt)?,
        prefix,
        name,
        kinds: BTreeMap::new(),
        nodes: Vec::new(),
        segments: Vec::new(),
    };
    building.members()?;
    for link in &clab.links {
        building.link(link)?;
    }
    let (tasks, mut nodes): (Vec<_>, Vec<_>) = building.nodes.into_iter().unzip();
    for (node, mut program) in nodes.iter_mut().zip(tasks) {
        finish(node, &mut program);
    }
    let containers: BTreeMap<String, String> = nodes
        .iter()
        .map(|node| (node.name.clone(), node.container.clone()))
        .collect();
    for node in &mut nodes {
        if let NodeNetwork::Container(name) = &mut node.network
            && let Some(container) = containers.get(name)
        {
            name.clone_from(container);
        }
    }
    let is_managed = nodes
        .iter()
        .any(|node| node.network == NodeNetwork::Management);
    Ok(Lab {
        name: building.name,
        format: Format::Containerlab,
        file: file.to_owned(),
        management: is_managed.then_some(building.management),
        nodes,
        segments: building.segments,
    })
}

struct Building<'c> {
    clab: &'c Clab,
    env: &'c Environment<'c>,
    labdir: std::path::PathBuf,
    management: Management,
    prefix: String,
    name: String,
    /// By node: where it is among nodes or segments.
    kinds: BTreeMap<String, Member>,
    nodes: Vec<(Program, Node)>,
    segments: Vec<Segment>,
}

#[derive(Clone, Copy)]
enum Member {
    Node(usize),
    Bridge(usize),
    Host,
}

impl Building<'_> {
    fn members(&mut self) -> Read<()> {
        for (said, own) in &self.clab.nodes {
            let name = values::name(said, "node")?;
            let held = Held::of(self.clab, said, own)?;
            held.check_kind()?;
            let member = match held.kind.1.as_str() {
                "bridge" => {
                    self.segments.push(Segment {
                        network: bounded(format!("{}{name}", self.prefix)),
                        name: name.clone(),
                        kind: SegmentKind::Bridge,
                        mtu: LINK_MTU,
                        vars: BTreeMap::new(),
                    });
                    Member::Bridge(self.segments.len() - 1)
                }
                "host" => Member::Host,
                _ => {
                    let made = self.node(said, &held)?;
                    self.nodes.push(made);
                    Member::Node(self.nodes.len() - 1)
                }
            };
            self.kinds.insert(name, member);
        }
        Ok(())
    }

    fn node(&self, said: &Said, held: &Held) -> Read<(Program, Node)> {
        let name = &said.1;
        let text = |key: &str| {
            held.text(key)
                .map(|(at, text)| (*at, self.magic(text, name)))
        };
        let image = text("image");
        let base = match &image {
            None => Base::plain(),
            Some((at, image)) => Base::of_image(image).ok_or_else(|| {
                Fault::new(
                    *at,
                    format!(
                        "image {} has no stand-in here; known: {}; deploy others with containerlab on Docker",
                        shown(image),
                        Base::known()
                    ),
                )
            })?,
        };
        check_user(text("user"))?;
        let network = network(text("network-mode"))?;
        let hostname = text("hostname").unwrap_or_else(|| (said.0, name.clone()));
        let (tasks, main) = self.program(name, held)?;
        let start = base.start.filter(|_| main.is_empty());
        let program = Program {
            before: start.map(str::to_owned).into_iter().collect(),
            main,
            tasks,
            at_end: None,
        };
        let node = Node {
            container: bounded(format!("{}{name}", self.prefix)),
            name: name.clone(),
            kind: held.kind.1.clone(),
            image: image.map(|(_, image)| image),
            base,
            group: held.group.clone(),
            network,
            interfaces: Vec::new(),
            management_ip: self.management_address(held, "mgmt-ipv4")?,
            management_ip6: self.management_address(held, "mgmt-ipv6")?,
            hostname: values::name(&hostname, "hostname")?,
            aliases: self.texts(held, "aliases", name),
            env: self.map(held, "env", name),
            sysctls: self.map(held, "sysctls", name),
            labels: self.map(held, "labels", name),
            cap_add: self.texts(held, "cap-add", name),
            binds: self.binds(name, held)?,
            copies: Vec::new(),
            publish: held
                .list("ports")
                .iter()
                .map(values::ports)
                .collect::<Read<Vec<_>>>()?
                .concat(),
            dns: held
                .list("dns-servers")
                .iter()
                .map(|server| parsed::<DnsServer>(server, "a name server"))
                .collect::<Read<_>>()?,
            dns_search: self.texts(held, "dns-search", name),
            dns_options: self.texts(held, "dns-options", name),
            restart: text("restart-policy").map_or(Ok(RestartPolicy::No), |policy| {
                parsed(&policy, "no, on-failure, always or unless-stopped")
            })?,
            memory: text("memory")
                .map(|said| values::memory(&said))
                .transpose()?,
            nano_cpus: text("cpu")
                .map(|said| values::nano_cpus(&said))
                .transpose()?,
            script: String::new(),
            has_tasks: false,
            stop_timeout_s: 0,
        };
        Ok((program, node))
    }

    /// What it does at its start, and what it is for.
    fn program(&self, name: &str, held: &Held) -> Read<(Vec<Task>, Vec<String>)> {
        let cut = |(at, line): &Said, what: &str| {
            let line = self.magic(line, name);
            words(&line).map_err(|missing| Fault::new(*at, format!("{what} lacks {missing}")))
        };
        let mut tasks = Vec::new();
        for line in held.list("exec") {
            let words = cut(line, "the command")?;
            if !words.is_empty() {
                tasks.push(Task::Words(words));
            }
        }
        let mut main = Vec::new();
        for key in ["entrypoint", "cmd"] {
            if let Some(said) = held.text(key) {
                main.extend(cut(said, key)?);
            }
        }
        Ok((tasks, main))
    }

    fn management_address<T>(&self, held: &Held, key: &str) -> Read<Option<T>>
    where
        T: std::str::FromStr + Copy + Into<std::net::IpAddr>,
    {
        let Some(said) = held.text(key) else {
            return Ok(None);
        };
        let address: T = parsed(said, "an address of that family")?;
        let nets = &self.management.subnets;
        match nets.iter().any(|net| net.contains(&address.into())) {
            true => Ok(Some(address)),
            false => {
                let nets: Vec<String> = nets.iter().map(IpNet::to_string).collect();
                Err(Fault::new(
                    said.0,
                    format!(
                        "{key} {} is not in the management network, {}",
                        said.1,
                        nets.join(", ")
                    ),
                ))
            }
        }
    }

    /// A later one of the same place in the node wins.
    fn binds(&self, name: &str, held: &Held) -> Read<Vec<String>> {
        let mut binds: BTreeMap<String, String> = BTreeMap::new();
        for (at, bind) in held.list("binds") {
            let bind = self.magic(bind, name);
            let parts: Vec<&str> = bind.split(':').collect();
            let (host, inside, mode) = match parts[..] {
                [host, inside] => (host, inside, ""),
                [host, inside, mode] => (host, inside, mode),
                _ => {
                    return Err(Fault::new(
                        *at,
                        format!("bind {} is not HOST:NODE or HOST:NODE:ro", shown(&bind)),
                    ));
                }
            };
            if !inside.starts_with('/') {
                return Err(Fault::new(
                    *at,
                    format!(
                        "bind {}: the place in the node must be an absolute path",
                        shown(&bind)
                    ),
                ));
            }
            let host = self.host_path(host);
            if !(self.env.is_there)(&host) {
                return Err(Fault::new(
                    *at,
                    format!("bind {}: there is no {}", shown(&bind), host.display()),
                ));
            }
            let is_read_only = mode.split(',').any(|word| word == "ro");
            let read_only = if is_read_only { ":ro" } else { "" };
            let made = format!("{}:{inside}{read_only}", host.display());
            binds.insert(inside.to_owned(), made);
        }
        Ok(binds.into_values().collect())
    }

    fn host_path(&self, path: &str) -> std::path::PathBuf {
        let home = || (self.env.var)("HOME").unwrap_or_else(|| "/root".to_owned());
        match path.strip_prefix("~/") {
            Some(rest) => Path::new(&home()).join(rest),
            None => self.env.dir.join(path).components().collect(),
        }
    }

    fn texts(&self, held: &Held, key: &str, node: &str) -> Vec<String> {
        let list = held.list(key).iter();
        list.map(|(_, text)| self.magic(text, node)).collect()
    }

    fn map(&self, held: &Held, key: &str, node: &str) -> BTreeMap<String, String> {
        held.map(key)
            .map(|(name, (_, text))| (name.clone(), self.magic(text, node)))
            .collect()
    }

    /// containerlab's words for the node, the lab and their directories.
    fn magic(&self, text: &str, node: &str) -> String {
        if !text.contains("__clab") {
            return text.to_owned();
        }
        let labdir = self.labdir.display().to_string();
        text.replace("__clabNodeName__", node)
            .replace("__clabLabName__", &self.name)
            .replace("__clabNodeDir__", &format!("{labdir}/{node}"))
            .replace("__clabDir__", &labdir)
    }

    fn link(&mut self, link: &Link) -> Read<()> {
        let members = link
            .ends
            .iter()
            .map(|end| self.member(end))
            .collect::<Read<Vec<_>>>()?;
        let mtu = link.mtu.as_ref().map(values::mtu).transpose()?;
        let vars: BTreeMap<String, String> = link
            .vars
            .iter()
            .map(|(key, (_, value))| (key.clone(), value.clone()))
            .collect();
        let from = |end: &End| impairments::of_end(&link.vars, &end.vars);
        match (&members[..], &link.ends[..]) {
            ([Member::Node(node)], [end]) => {
                let segment = self.wire(&[end], mtu, vars);
                self.attach(*node, end, segment, sent(from(end)?))
            }
            ([Member::Node(one), Member::Node(other)], [near, far]) => {
                if one == other {
                    return Err(Fault::new(
                        far.at,
                        format!(
                            "both ends are node {}'s; put a bridge or a second node between",
                            far.node
                        ),
                    ));
                }
                let segment = self.wire(&[near, far], mtu, vars);
                self.attach(*one, near, segment, sent(from(near)?))?;
                let (back, seed) = from(far)?;
                // Chance is another one on the way back.
                let seed = seed.map(|seed| seed.wrapping_add(1));
                self.attach(*other, far, segment, sent((back, seed)))
            }
            ([Member::Node(node), Member::Bridge(segment)], [end, far])
            | ([Member::Bridge(segment), Member::Node(node)], [far, end]) => {
                if let (Some(mtu), Some(bridge)) = (mtu, self.segments.get_mut(*segment)) {
                    bridge.mtu = mtu;
                }
                // A bridge's ports have no links of their own, so the node's has what comes from there too.
                let impairments = LinkSettings {
                    to: from(far)?.0,
                    ..sent(from(end)?)
                };
                self.attach(*node, end, *segment, impairments)
            }
            ([Member::Bridge(_), Member::Bridge(_)], _) => Err(Fault::new(
                link.at,
                "a link between two bridges is not taken here yet; put all of it on one bridge",
            )),
            _ => Err(Fault::new(
                link.at,
                "a link to the host is not taken here yet; nodes reach it by eth0",
            )),
        }
    }

    fn member(&self, end: &End) -> Read<Member> {
        if let Some(member) = self.kinds.get(&end.node) {
            return Ok(*member);
        }
        if PSEUDO.contains(&end.node.as_str()) {
            return Err(Fault::new(
                end.at,
                format!(
                    "links to {}: are containerlab's, and not taken here yet; nodes reach the host by eth0",
                    end.node
                ),
            ));
        }
        let near = nearest(&end.node, self.kinds.keys().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None => "write it below nodes:".to_owned(),
        };
        Err(Fault::new(
            end.at,
            format!("there is no node {}; {hint}", shown(&end.node)),
        ))
    }

    /// A segment of its own for these ends.
    fn wire(&mut self, ends: &[&End], mtu: Option<u16>, vars: BTreeMap<String, String>) -> usize {
        let joined = |sign: &str| {
            let ends = ends
                .iter()
                .map(|end| format!("{}{sign}{}", end.node, end.interface));
            ends.collect::<Vec<_>>()
        };
        self.segments.push(Segment {
            network: bounded(format!("{}{}", self.prefix, joined("_").join("-"))),
            name: joined(":").join(" -- "),
            kind: SegmentKind::Wire,
            mtu: mtu.unwrap_or(LINK_MTU),
            vars,
        });
        self.segments.len() - 1
    }

    fn attach(
        &mut self,
        node: usize,
        end: &End,
        segment: usize,
        impairments: LinkSettings,
    ) -> Read<()> {
        values::interface(&(end.at, end.interface.clone()))?;
        let mac = end.mac.as_ref().map(values::mac).transpose()?;
        let made = || values::made_mac(&self.name, &end.node, &end.interface);
        let mac = mac.unwrap_or_else(made);
        let addresses = end
            .addresses
            .iter()
            .map(|said| parsed(said, "an address with its prefix length, as 10.0.0.1/24"))
            .collect::<Read<_>>()?;
        let Some((_, node)) = self.nodes.get_mut(node) else {
            return Ok(());
        };
        let name = &end.interface;
        if let NodeNetwork::Host | NodeNetwork::Container(_) = node.network {
            return Err(Fault::new(
                end.at,
                format!(
                    "node {} has no network of its own, so it takes no links; leave network-mode out",
                    node.name
                ),
            ));
        }
        if name == "eth0" && node.network == NodeNetwork::Management {
            return Err(Fault::new(
                end.at,
                format!(
                    "eth0 of node {} is on the management network; take eth1, or network-mode: none",
                    node.name
                ),
            ));
        }
        if node.interfaces.iter().any(|other| other.name == *name) {
            return Err(Fault::new(
                end.at,
                format!(
                    "{}:{name} is an end of two links; take another interface",
                    node.name
                ),
            ));
        }
        if node.interfaces.iter().any(|other| other.segment == segment) {
            return Err(Fault::new(
                end.at,
                format!(
                    "node {} is on this bridge twice; take a second bridge",
                    node.name
                ),
            ));
        }
        if node.interfaces.len() >= INTERFACES_MAX {
            return Err(Fault::new(
                end.at,
                format!("node {} has more than {INTERFACES_MAX} links", node.name),
            ));
        }
        node.interfaces.push(Interface {
            name: name.clone(),
            segment,
            mac: Some(mac),
            addresses,
            impairments,
        });
        Ok(())
    }
}

/// At the link of a node, frames from there.
fn sent((from, seed): (Impairment, Option<u64>)) -> LinkSettings {
    LinkSettings {
        from,
        seed,
        ..LinkSettings::default()
    }
}

/// Puts together what is known when all links are.
fn finish(node: &mut Node, program: &mut Program) {
    let given = node.interfaces.iter().flat_map(|interface| {
        let name = &interface.name;
        let addresses = interface.addresses.iter();
        addresses.map(move |address| format!("ip address add {address} dev {}", quote(name)))
    });
    program.before.splice(0..0, given);
    node.env
        .insert("CLAB_INTFS".to_owned(), node.interfaces.len().to_string());
    node.script = program.script();
    node.has_tasks = !program.tasks.is_empty() || !program.before.is_empty();
}

fn management(said: &Mgmt) -> Read<Management> {
    let subnet = |said: &Option<Said>, is_v4: bool| -> Read<Option<IpNet>> {
        let Some(said) = said.as_ref().filter(|(_, text)| text != "auto") else {
            return Ok(None);
        };
        let net: IpNet = parsed(said, "a subnet, as 172.20.20.0/24")?;
        match net.addr().is_ipv4() == is_v4 {
            true => Ok(Some(net.trunc())),
            false => Err(Fault::new(
                said.0,
                format!("{} is a subnet of the other family", said.1),
            )),
        }
    };
    let v4 = subnet(&said.ipv4_subnet, true)?;
    let v6 = subnet(&said.ipv6_subnet, false)?;
    let gateways = [&said.ipv4_gw, &said.ipv6_gw].into_iter().flatten();
    Ok(Management {
        network: match &said.network {
            Some(said) => values::name(said, "the management network")?,
            None => MANAGEMENT.to_owned(),
        },
        subnets: v4
            .or_else(|| MANAGEMENT_V4.parse().ok())
            .into_iter()
            .chain(v6)
            .collect(),
        gateways: gateways
            .map(|said| parsed(said, "an address"))
            .collect::<Read<_>>()?,
        mtu: said.mtu.as_ref().map(values::mtu).transpose()?,
    })
}

fn network(mode: Option<Said>) -> Read<NodeNetwork> {
    let Some((at, mode)) = mode else {
        return Ok(NodeNetwork::Management);
    };
    match mode.split_once(':') {
        None if mode == "bridge" => Ok(NodeNetwork::Management),
        None if mode == "none" => Ok(NodeNetwork::Links),
        None if mode == "host" => Ok(NodeNetwork::Host),
        Some(("container", name)) if !name.is_empty() => {
            Ok(NodeNetwork::Container(name.to_owned()))
        }
        _ => Err(Fault::new(
            at,
            format!(
                "network-mode {} is not none, host or container:NAME",
                shown(&mode)
            ),
        )),
    }
}

fn check_user(user: Option<Said>) -> Read<()> {
    match user {
        Some((at, user)) if !matches!(user.as_str(), "root" | "0" | "0:0" | "root:root") => {
            Err(Fault::new(
                at,
                format!(
                    "user {}: nodes run as root here; leave it out, or use su in cmd",
                    shown(&user)
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// containerlab's own defaults (`DefaultVethLinkMTU`, `defaultDockerNetwork`, `defaultDockerNetworkIPv4`).
const LINK_MTU: u16 = 9500;
const MANAGEMENT: &str = "clab";
const MANAGEMENT_V4: &str = "172.20.20.0/24";
const PSEUDO: [&str; 4] = ["host", "mgmt-net", "macvlan", "vxlan"];
/// With the management network, what a container may have.
const INTERFACES_MAX: usize = 62;
