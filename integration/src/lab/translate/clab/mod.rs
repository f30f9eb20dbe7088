//! containerlab's file as a lab.

mod link;
mod node;

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;

use super::Environment;
use super::properties::Held;
use super::values::{self, bounded, parsed};
use crate::lab::fault::{Fault, Read};
use crate::lab::model::{Format, Lab, Management, Node, NodeNetwork, Segment, SegmentKind};
use crate::lab::script::{Program, quote};
use crate::lab::wire::clab::{Clab, Mgmt, Said};

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
                        mtu: Some(LINK_MTU),
                        host_links: Vec::new(),
                        vxlan: None,
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

/// containerlab's own defaults (`DefaultVethLinkMTU`, `defaultDockerNetwork`, `defaultDockerNetworkIPv4`).
const LINK_MTU: u16 = 9500;
const MANAGEMENT: &str = "clab";
const MANAGEMENT_V4: &str = "172.20.20.0/24";
