//! Frames for groups, where the bridge snoops ([`crate::multicast`]).

use std::sync::Arc;

use arc_swap::Guard;

use super::Bridge;
use super::passage::{Passage, cost};
use crate::list_id::ListId;
use crate::multicast::{
    Address, Asker, Fixed, GroupKey, Heard, List, Lists, Message, MulticastCounts, MulticastView,
    Query, Reach, Read, Snooper, Snoopers, read,
};
use crate::packet::Packet;
use crate::topology::Topology;
use crate::trace::{Step, Tracer};
use crate::vlan::{Tag, Vid};
use crate::{DropReason, Frame, PortId, PortKind, Time, Told, Verdict};

impl Bridge {
    /// The ports that a frame goes to whose verdict was [`Verdict::Group`], which is the frame beneath its tag where the network is
    /// aware of VLANs ([`Tag::beneath`]). Hold it for the batch, not longer.
    pub fn group_list(
        &self,
        ingress: PortId,
        (list, tag): (ListId, Option<Tag>),
        frame: &Frame<'_>,
    ) -> GroupList {
        let topology = self.ports.load();
        let is_far = topology
            .port(ingress)
            .is_some_and(|port| port.config.kind == PortKind::Tunnel);
        let in_lists = |lists: &Lists| {
            let list = lists
                .list(list)
                .or_else(|| lists.list(again(lists, list, frame, is_far)?));
            list.cloned()
        };
        let list = match &self.snoopers {
            None => None,
            Some(Snoopers::Network(snooper)) => in_lists(&snooper.lists()),
            Some(Snoopers::Vlans(vlans)) => tag.and_then(|tag| {
                let awake = vlans.awake();
                in_lists(&awake.of(tag.vid())?.lists())
            }),
        };
        GroupList {
            topology,
            list,
            ingress,
        }
    }

    /// Whether queries are due earlier than [`Self::queries_due`] said. Costs a look as long as none are.
    #[inline]
    pub fn take_call(&self) -> bool {
        match &self.snoopers {
            Some(snoopers) => snoopers.take_call(),
            None => false,
        }
    }

    /// When [`Self::take_queries`] is due; never where the bridge does not snoop.
    pub fn queries_due(&self) -> Option<Time> {
        self.snoopers.as_ref()?.due()
    }

    /// The frames by which hosts are asked now for the groups that they listen to, each with its port, and the tag that it has there.
    /// Who has been asked and has not answered is forgotten.
    pub fn take_queries(&self, now: Time) -> Vec<(PortId, Vec<u8>)> {
        let Some(snoopers) = &self.snoopers else {
            return Vec::new();
        };
        let topology = self.ports.load();
        let queries = snoopers.take_queries(now, |vlan| self.asker(&topology, vlan));
        let leaves = |Query { vlan, port, frame }| {
            let to = topology.port(port).filter(|port| port.block.is_none())?;
            let written = self.config.vlans.zip(vlan).zip(to.vlans.as_ref());
            let frame = match written {
                None => frame,
                Some(((network, vid), port)) => Tag::of_own(network, vid, PCP).put(port, &frame)?,
            };
            Some((port, frame))
        };
        queries.into_iter().filter_map(leaves).collect()
    }

    /// The groups, where the bridge snoops: of each VLAN in which somebody spoke of any, or of the network that knows none.
    pub fn multicast(&self, now: Time) -> Option<Vec<MulticastView>> {
        let (snoopers, topology) = (self.snoopers.as_ref()?, self.ports.load());
        Some(snoopers.views(now, |vlan| self.asker(&topology, vlan)))
    }

    /// Messages about groups so far, where the bridge snoops.
    pub fn multicast_counts(&self) -> Option<MulticastCounts> {
        Some(self.snoopers.as_ref()?.counts())
    }

    /// As whom the bridge asks: its gateway, where that lives.
    fn asker(&self, topology: &Topology, vlan: Option<Vid>) -> Asker {
        let gateway = topology.gateway.as_ref();
        let gateway = gateway.filter(|_| vlan == self.home());
        gateway.map_or(Asker::NOBODY, |gateway| Asker {
            mac: gateway.mac,
            v4: gateway.address_v4().unwrap_or_default(),
        })
    }

    /// Reports of listeners to multicast groups that found no room. Their groups cost as if nobody listened; where the bridge
    /// snoops, whoever sent them gets everything.
    pub fn listeners_full(&self) -> u64 {
        let snooped = self.multicast_counts().map_or(0, |counts| counts.full);
        self.listeners.full() + snooped
    }
}

/// The list in the place of one that was replaced.
fn again(lists: &Lists, list: ListId, frame: &Frame<'_>, is_far: bool) -> Option<ListId> {
    match Lists::fixed_of(list) {
        Some(Fixed::Reports(family) | Fixed::FarReports(family)) => {
            Some(lists.fixed(Fixed::reports(family, is_far)))
        }
        _ => {
            let (key, source, reach) = addressed(frame, &Packet::parse(frame)?)?;
            lists.find(key, source, reach)
        }
    }
}

/// The group that a packet is for, and who sends to it.
#[inline]
fn addressed(frame: &Frame<'_>, packet: &Packet) -> Option<(GroupKey, Address, Reach)> {
    let group = Address::on_wire(packet.destination(frame))?;
    let source = Address::on_wire(packet.source(frame))?;
    Some((GroupKey { group }, source, group.reach()?))
}

/// Where a frame for a group goes; see [`Bridge::group_list`].
pub struct GroupList {
    topology: Guard<Arc<Topology>>,
    list: Option<Arc<List>>,
    ingress: PortId,
}

impl GroupList {
    /// Each port once; never the ingress, or one that is kept apart from it.
    pub fn egresses(&self) -> impl Iterator<Item = PortId> {
        let group = self
            .topology
            .port(self.ingress)
            .map(|port| port.config.group);
        let ports = self.list.iter().flat_map(|list| list.ports.iter().copied());
        ports.filter(move |egress| {
            let egress = self.topology.port(*egress);
            let is_open = egress.zip(group).is_some_and(|(egress, group)| {
                egress.block.is_none() && !group.separates(egress.config.group)
            });
            is_open && egress.is_some_and(|egress| egress.id != self.ingress)
        })
    }
}

impl<T: Tracer> Passage<'_, T> {
    /// Somebody speaks to several in the frame's VLAN, whose groups matter from now on.
    #[inline]
    pub(super) fn wake_vlan(&self) {
        if let (Some(Snoopers::Vlans(vlans)), Some(vid)) = (&self.bridge.snoopers, self.vlan) {
            vlans.wake(vid);
        }
    }

    /// To those who asked.
    pub(super) fn for_listeners(
        &self,
        snoopers: &Snoopers,
        packet: &Packet,
    ) -> Result<Verdict, DropReason> {
        let awake;
        let snooper = match (snoopers, self.vlan) {
            (Snoopers::Network(snooper), _) => Some(&**snooper),
            (Snoopers::Vlans(_), None) => None,
            (Snoopers::Vlans(vlans), Some(vid)) => {
                awake = vlans.awake();
                awake.of(vid)
            }
        };
        let Some(snooper) = snooper else {
            return self.flood();
        };
        match read(self.frame, packet) {
            Read::Other => {}
            Read::Invalid => {
                snooper.hear_invalid();
                self.tracer.note(|| Step::Told(Told::Invalid));
            }
            Read::Message(dialect, message) => {
                let heard = Heard {
                    port: self.port.id,
                    from: self.frame.src(),
                    own: self.bridge.asker(self.topology, self.vlan),
                    dialect,
                    message,
                };
                return self.take_in(snooper, heard);
            }
        }
        let Some((key, source, reach)) = addressed(self.frame, packet) else {
            return self.flood();
        };
        if reach == Reach::Everybody {
            return self.flood();
        }
        let lists = snooper.lists();
        let Some(id) = lists.find(key, source, reach) else {
            return self.flood();
        };
        self.tracer.note(|| Step::Snooped {
            group: key.group.ip(),
            source: source.ip(),
            ports: snooper.access(key, source),
        });
        match lists.list(id) {
            Some(list) if !list.is_empty_for(self.port.id) => {
                self.charge_listeners(list)?;
                Ok(Verdict::Group(id))
            }
            _ => {
                self.tracer.note(|| Step::NoListener);
                Err(DropReason::NoListener)
            }
        }
    }

    fn charge_listeners(&self, list: &List) -> Result<(), DropReason> {
        if self.port.bum.is_none() {
            return Ok(());
        }
        let itself = u32::from(list.ports.binary_search(&self.port.id).is_ok());
        let copies = u32::try_from(list.ports.len()).unwrap_or(u32::MAX);
        self.charge(cost(
            copies.saturating_sub(itself),
            list.listeners.saturating_sub(itself),
        ))
    }

    fn take_in(&self, snooper: &Snooper, heard: Heard<'_>) -> Result<Verdict, DropReason> {
        let family = heard.dialect.family();
        let is_report = matches!(heard.message, Message::Report(_) | Message::Leave(_));
        if is_report {
            self.charge(REPORT_COPIES)?;
        } else {
            self.flood()?;
        }
        self.tracer.note(|| Step::Told(Told::of(&heard)));
        snooper.hear(self.now, heard);
        if !is_report {
            return Ok(Verdict::Flood);
        }
        let is_far = self.port.config.kind == PortKind::Tunnel;
        let lists = snooper.lists();
        let id = lists.fixed(Fixed::reports(family, is_far));
        match lists.list(id) {
            Some(list) if !list.is_empty_for(self.port.id) => Ok(Verdict::Group(id)),
            _ => Ok(Verdict::Taken),
        }
    }

    /// Whether the frame is another bridge's, whose name is no station's.
    #[inline]
    pub(super) fn is_asked_by_another_host(&self) -> bool {
        self.bridge.snoopers.is_some()
            && self.port.config.kind == PortKind::Tunnel
            && self.frame.src() == Asker::NOBODY.mac
    }
}

/// Of queries behind a tag: internetwork control (IEEE 802.1Q §I.4), as their packets have it.
const PCP: u8 = 6;
/// What a report costs of its sender's budget: lists may have to be made anew for it.
const REPORT_COPIES: u32 = 40;
