//! What a file says of a link.

use std::collections::BTreeMap;

use agent_api::{Impairment, LinkSettings};

use super::{Building, LINK_MTU, Member};
use crate::lab::fault::{Fault, Read, nearest, shown};
use crate::lab::model::{Interface, NodeNetwork, Segment, SegmentKind};
use crate::lab::translate::impairments;
use crate::lab::translate::values::{self, bounded, parsed};
use crate::lab::wire::clab::{End, Link};

impl Building<'_> {
    pub(super) fn link(&mut self, link: &Link) -> Read<()> {
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

const PSEUDO: [&str; 4] = ["host", "mgmt-net", "macvlan", "vxlan"];
/// With the management network, what a container may have.
const INTERFACES_MAX: usize = 62;
