//! Items of `links:`.

use std::collections::BTreeMap;

use super::{Said, either, texts};
use crate::lab::fault::{Fault, Mark, Read, shown, unknown};
use crate::lab::wire::yaml::{Fields, Node};

/// An item of `links:`.
#[derive(Debug)]
pub(in crate::lab) struct Link {
    pub(in crate::lab) at: Mark,
    /// Two, or one where it leads nowhere (`dummy`) or to another host.
    pub(in crate::lab) ends: Vec<End>,
    /// Of a link of type `vxlan`.
    pub(in crate::lab) beyond: Option<Beyond>,
    pub(in crate::lab) mtu: Option<Said>,
    /// Scalars of `vars:`; others are for other programs.
    pub(in crate::lab) vars: BTreeMap<String, Said>,
}

/// The other host that a link leads to.
#[derive(Debug)]
pub(in crate::lab) struct Beyond {
    pub(in crate::lab) remote: Said,
    pub(in crate::lab) vni: Said,
    pub(in crate::lab) udp_port: Option<Said>,
}

#[derive(Debug)]
pub(in crate::lab) struct End {
    pub(in crate::lab) at: Mark,
    pub(in crate::lab) node: String,
    pub(in crate::lab) interface: String,
    pub(in crate::lab) mac: Option<Said>,
    /// With prefix lengths.
    pub(in crate::lab) addresses: Vec<Said>,
    /// As a link's.
    pub(in crate::lab) vars: BTreeMap<String, Said>,
}

pub(super) fn links(node: &Node) -> Read<Vec<Link>> {
    node.list("links")?.iter().map(link).collect()
}

fn link(node: &Node) -> Read<Link> {
    let fields = node.fields("a link", &LINK)?;
    let kind = fields.text("type")?;
    let mut beyond = None;
    let ends = match kind.as_ref().map(|(at, kind)| (*at, kind.as_str())) {
        None | Some((_, "veth" | "veth-stitch")) => pair(node, &fields)?,
        Some((_, "dummy")) => vec![only_end(node, &fields, "dummy")?],
        Some((_, "host")) => vec![
            only_end(node, &fields, "host")?,
            End {
                at: node.at,
                node: HOST.to_owned(),
                interface: needed(node, &fields, "host", "host-interface")?.1,
                mac: None,
                addresses: Vec::new(),
                vars: BTreeMap::new(),
            },
        ],
        Some((_, "vxlan")) => {
            beyond = Some(vxlan(node, &fields)?);
            vec![only_end(node, &fields, "vxlan")?]
        }
        Some((at, other)) => return Err(Fault::new(at, no_link(other))),
    };
    Ok(Link {
        at: node.at,
        ends,
        beyond,
        mtu: fields.text("mtu")?,
        vars: fields.find("vars").map_or(Ok(BTreeMap::new()), vars)?,
    })
}

/// Why a type of links is none here.
pub(in crate::lab) fn no_link(kind: &str) -> String {
    match OTHER_LINKS.iter().find(|(other, _)| *other == kind) {
        Some((_, instead)) => {
            format!("{kind} links are containerlab's, and not made here; {instead}")
        }
        None => unknown("type", kind, &LINKS, "of a link"),
    }
}

fn only_end(node: &Node, fields: &Fields<'_>, kind: &str) -> Read<End> {
    match fields.find("endpoint") {
        Some(end) => long_end(end),
        None => Err(Fault::new(
            node.at,
            format!("a {kind} link needs endpoint: with node and interface"),
        )),
    }
}

fn needed(node: &Node, fields: &Fields<'_>, kind: &str, key: &str) -> Read<Said> {
    let said = fields.text(key)?;
    said.ok_or_else(|| Fault::new(node.at, format!("a {kind} link needs {key}:")))
}

fn vxlan(node: &Node, fields: &Fields<'_>) -> Read<Beyond> {
    for key in ["src-port", "parent-interface"] {
        if let Some((at, _)) = fields.text(key)? {
            return Err(Fault::new(
                at,
                format!("{key} of a vxlan link is the agent's to choose; leave it out"),
            ));
        }
    }
    Ok(Beyond {
        remote: needed(node, fields, "vxlan", "remote")?,
        vni: needed(node, fields, "vxlan", "vni")?,
        udp_port: either(fields, "udp-port", "dst-port")?,
    })
}

fn pair(node: &Node, fields: &Fields<'_>) -> Read<Vec<End>> {
    let Some(list) = fields.find("endpoints") else {
        return Err(Fault::new(
            node.at,
            "a link needs endpoints: [\"node:eth1\", \"node:eth1\"]",
        ));
    };
    let ends = list.list("endpoints")?;
    let mut ends: Vec<End> = ends
        .iter()
        .map(|end| match end.is_scalar() {
            true => short_end(end),
            false => long_end(end),
        })
        .collect::<Read<_>>()?;
    if ends.len() != 2 {
        return Err(Fault::new(
            list.at,
            format!("a link has two endpoints, and this one {}", ends.len()),
        ));
    }
    for family in ["ipv4", "ipv6"] {
        let Some(list) = fields.find(family) else {
            continue;
        };
        for (end, (at, address)) in ends.iter_mut().zip(texts(list, family)?) {
            if !address.is_empty() {
                end.addresses.push((at, address));
            }
        }
    }
    Ok(ends)
}

/// `node:interface`.
fn short_end(node: &Node) -> Read<End> {
    let text = node.text("an endpoint")?;
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [name, interface] if !name.is_empty() && !interface.is_empty() => Ok(End {
            at: node.at,
            node: name.to_owned(),
            interface: interface.to_owned(),
            mac: None,
            addresses: Vec::new(),
            vars: BTreeMap::new(),
        }),
        _ => Err(Fault::new(
            node.at,
            format!(
                "an endpoint is \"node:interface\", and this is {}",
                shown(text)
            ),
        )),
    }
}

fn long_end(node: &Node) -> Read<End> {
    let fields = node.fields("an endpoint", &END)?;
    let part = |key: &str| {
        let said = fields.text(key)?;
        said.ok_or_else(|| Fault::new(node.at, format!("an endpoint needs {key}:")))
    };
    let mut addresses = Vec::new();
    for family in ["ipv4", "ipv6"] {
        addresses.extend(fields.text(family)?);
    }
    Ok(End {
        at: node.at,
        node: part("node")?.1,
        interface: part("interface")?.1,
        mac: fields.text("mac")?,
        addresses,
        vars: fields.find("vars").map_or(Ok(BTreeMap::new()), vars)?,
    })
}

fn vars(node: &Node) -> Read<BTreeMap<String, Said>> {
    let entries = node.entries("vars")?.iter();
    let scalars = entries.filter(|(_, value)| value.is_scalar() && !value.is_nothing());
    scalars
        .map(|(key, value)| Ok((key.text.clone(), (value.at, value.text("vars")?.to_owned()))))
        .collect()
}

const LINK: [&str; 16] = [
    "endpoints",
    "endpoint",
    "type",
    "mtu",
    "vars",
    "labels",
    "ipv4",
    "ipv6",
    "host-interface",
    "mode",
    "remote",
    "vni",
    "udp-port",
    "dst-port",
    "src-port",
    "parent-interface",
];
const END: [&str; 6] = ["node", "interface", "mac", "ipv4", "ipv6", "vars"];
const LINKS: [&str; 8] = [
    "veth",
    "dummy",
    "veth-stitch",
    "host",
    "mgmt-net",
    "macvlan",
    "vxlan",
    "vxlan-stitch",
];
/// What a link's end is at that is in the host's own namespace.
pub(in crate::lab) const HOST: &str = "host";
/// Those that nothing here comes near enough to, and what to take.
const OTHER_LINKS: [(&str, &str); 3] = [
    ("mgmt-net", "nodes are on the management network by eth0"),
    (
        "macvlan",
        "take host:NAME, and put that link and the interface into a bridge of the host",
    ),
    ("vxlan-stitch", "take vxlan"),
];
