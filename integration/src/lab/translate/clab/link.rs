//! What a file says of a link.

use agent_api::{Impairment, LinkSettings};

use super::{Building, LINK_MTU, Member};
use crate::lab::fault::{Fault, Read, nearest, shown};
use crate::lab::model::{Interface, NodeNetwork, Segment, SegmentKind, Vxlan};
use crate::lab::translate::impairments;
use crate::lab::translate::values::{self, bounded, parsed};
use crate::lab::wire::clab::{Beyond, End, HOST, Link, no_link};

impl Building<'_> {
    pub(super) fn link(&mut self, link: &Link) -> Read<()> {
        let members = link
            .ends
            .iter()
            .map(|end| self.member(end))
            .collect::<Read<Vec<_>>>()?;
        let mtu = link.mtu.as_ref().map(values::mtu).transpose()?;
        let from = |end: &End| impairments::of_end(&link.vars, &end.vars);
        match (&members[..], &link.ends[..]) {
            ([member], [end]) => {
                let segment = match *member {
                    Member::Bridge(segment) => self.widen(segment, mtu),
                    _ => self.wire(&[end], mtu),
                };
                if let Some(beyond) = &link.beyond {
                    self.lead_beyond(segment, beyond, mtu)?;
                }
                match *member {
                    Member::Node(node) => self.attach(node, end, segment, sent(from(end)?)),
                    Member::Bridge(_) if link.beyond.is_some() => Ok(()),
                    Member::Bridge(_) | Member::Host => Err(Fault::new(
                        end.at,
                        format!(
                            "{} is no node of kind linux, which this end needs",
                            end.node
                        ),
                    )),
                }
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
                let segment = self.wire(&[near, far], mtu);
                self.attach(*one, near, segment, sent(from(near)?))?;
                let (back, seed) = from(far)?;
                // Chance is another one on the way back.
                let seed = seed.map(|seed| seed.wrapping_add(1));
                self.attach(*other, far, segment, sent((back, seed)))
            }
            ([Member::Node(node), Member::Bridge(segment)], [end, far])
            | ([Member::Bridge(segment), Member::Node(node)], [far, end]) => {
                self.widen(*segment, mtu);
                // A bridge's ports have no links of their own, so the node's has what comes from there too.
                let impairments = LinkSettings {
                    to: from(far)?.0,
                    ..sent(from(end)?)
                };
                self.attach(*node, end, *segment, impairments)
            }
            ([Member::Node(node), Member::Host], [end, far])
            | ([Member::Host, Member::Node(node)], [far, end]) => {
                let segment = self.wire(&[end, far], mtu);
                self.lead_to_host(segment, far)?;
                // What the host sends arrives at the node's end.
                let impairments = LinkSettings {
                    to: from(far)?.0,
                    ..sent(from(end)?)
                };
                self.attach(*node, end, segment, impairments)
            }
            ([Member::Bridge(segment), Member::Host], [_, far])
            | ([Member::Host, Member::Bridge(segment)], [far, _]) => {
                let segment = self.widen(*segment, mtu);
                self.lead_to_host(segment, far)
            }
            ([Member::Bridge(_), Member::Bridge(_)], _) => Err(Fault::new(
                link.at,
                "a link between two bridges is not taken here yet; put all of it on one bridge",
            )),
            _ => Err(Fault::new(
                link.at,
                "both ends are the host's; one has to be a node's or a bridge's",
            )),
        }
    }

    fn member(&self, end: &End) -> Read<Member> {
        if let Some(member) = self.kinds.get(&end.node) {
            return Ok(*member);
        }
        match end.node.as_str() {
            HOST => return Ok(Member::Host),
            "vxlan" => {
                return Err(Fault::new(
                    end.at,
                    "a vxlan link is written as type: vxlan, with endpoint, remote and vni",
                ));
            }
            pseudo @ ("mgmt-net" | "macvlan") => return Err(Fault::new(end.at, no_link(pseudo))),
            _ => {}
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
    fn wire(&mut self, ends: &[&End], mtu: Option<u16>) -> usize {
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
            mtu: Some(mtu.unwrap_or(LINK_MTU)),
            host_links: Vec::new(),
            vxlan: None,
        });
        self.segments.len() - 1
    }

    /// Gives a bridge the MTU of a link to it that has one.
    fn widen(&mut self, segment: usize, mtu: Option<u16>) -> usize {
        if let (Some(mtu), Some(bridge)) = (mtu, self.segments.get_mut(segment)) {
            bridge.mtu = Some(mtu);
        }
        segment
    }

    fn lead_to_host(&mut self, segment: usize, far: &End) -> Read<()> {
        let name = &far.interface;
        values::interface(&(far.at, name.clone()))?;
        if let Some((at, _)) = far.mac.as_ref().or(far.addresses.first()) {
            return Err(Fault::new(
                *at,
                format!(
                    "the host's end {name} is the host's to configure; leave mac, ipv4 and ipv6 out there"
                ),
            ));
        }
        let mut known = self.segments.iter().flat_map(|segment| &segment.host_links);
        if known.any(|known| known == name) {
            return Err(Fault::new(
                far.at,
                format!("host:{name} is an end of two links; take another interface"),
            ));
        }
        if let Some(segment) = self.segments.get_mut(segment) {
            segment.host_links.push(name.clone());
        }
        Ok(())
    }

    /// Over the tunnel go frames of what the underlay has room for.
    fn lead_beyond(&mut self, segment: usize, beyond: &Beyond, mtu: Option<u16>) -> Read<()> {
        let vxlan = Vxlan {
            remote: parsed(&beyond.remote, "an address of the other host, as 192.0.2.2")?,
            vni: parsed(&beyond.vni, "a VNI, as 100")?,
            dstport: match &beyond.udp_port {
                Some(said) => parsed(said, "a UDP port, as 4789")?,
                None => VXLAN_PORT,
            },
        };
        let Some(segment) = self.segments.get_mut(segment) else {
            return Ok(());
        };
        if segment.vxlan.is_some() {
            return Err(Fault::new(
                beyond.remote.0,
                format!(
                    "bridge {} leads to another host already; take a second bridge",
                    segment.name
                ),
            ));
        }
        segment.mtu = mtu;
        segment.vxlan = Some(vxlan);
        Ok(())
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
            mac,
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

/// containerlab's own default, since others filter 4789 or have it (`VxLANDefaultPort`).
const VXLAN_PORT: u16 = 14789;
/// With the management network, what a container may have.
const INTERFACES_MAX: usize = 62;
