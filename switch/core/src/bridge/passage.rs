//! What the bridge decides about one frame; the order is that of [`super`]'s theory of operation.

use std::sync::atomic::Ordering;

use super::Bridge;
use crate::bridge_port::BridgePort;
use crate::fdb::Learned;
use crate::gateway::{Gateway, is_dhcp_request};
use crate::neighbors::Owner;
use crate::packet::Packet;
use crate::storm::COPIES_PER_FRAME;
use crate::topology::Topology;
use crate::{DropReason, Frame, PortId, Time, Verdict, guard, membership, probe, proxy};

/// One frame on its way through the bridge.
#[derive(Clone, Copy)]
pub(super) struct Passage<'a> {
    pub(super) bridge: &'a Bridge,
    pub(super) topology: &'a Topology,
    pub(super) port: &'a BridgePort,
    pub(super) now: Time,
    pub(super) frame: &'a Frame<'a>,
}

impl Passage<'_> {
    pub(super) fn decide(&self) -> Result<Verdict, DropReason> {
        let frame = self.frame;
        let is_probe = probe::is_probe(frame);
        if is_probe && self.bridge.probe(frame).is_some() {
            return Ok(Verdict::Probe);
        }
        if self.port.block.is_some() {
            return Err(DropReason::PortBlocked);
        }
        if !frame.fits(self.port.config.mtu) {
            return Err(DropReason::Oversize);
        }
        if is_probe {
            return self.flood();
        }
        if frame.dst().is_link_local_control() && !self.bridge.config.transparent {
            return Err(DropReason::LinkLocalControl);
        }
        // What a tagged frame carries is another network's.
        let packet = if frame.is_untagged() {
            Packet::parse(frame)
        } else {
            None
        };
        let guard = self.guard(packet.as_ref());
        let owner = match self.port.config.kind.is_guarded() {
            true => guard.judge()?,
            false => None,
        };
        self.learn()?;
        let is_news = owner.is_some_and(|owner| {
            !owner.is_known_by(frame.src()) && guard.shows_mac() && self.hear(owner)
        });
        if frame.dst().is_multicast() {
            return self.for_group(packet.as_ref(), is_news);
        }
        match &self.topology.gateway {
            Some(gateway) if gateway.mac == frame.dst() => {
                self.for_gateway(gateway, packet.as_ref(), is_news)
            }
            _ => self.for_station(),
        }
    }

    const fn guard<'s>(&'s self, packet: Option<&'s Packet>) -> guard::Guard<'s> {
        guard::Guard {
            frame: self.frame,
            packet,
            port: self.port,
            topology: self.topology,
        }
    }

    fn learn(&self) -> Result<(), DropReason> {
        let (source, id, config) = (self.frame.src(), self.port.id, &self.port.config);
        if self.topology.is_gateway(source) {
            return Ok(());
        }
        let refused = if config.learning {
            let limit = usize::try_from(config.learn_limit).unwrap_or(usize::MAX);
            let learned = self.bridge.fdb.learn(self.now, source, id, limit);
            if matches!(learned, Learned::Moved { .. } | Learned::Refused) {
                self.suspect();
            }
            learned == Learned::Refused
        } else {
            self.bridge.fdb.is_refused(source, id)
        };
        if refused {
            Err(DropReason::StickyMac)
        } else {
            Ok(())
        }
    }

    fn suspect(&self) {
        let config = &self.bridge.config;
        let suspicion = &self.bridge.suspicion;
        if !config.transparent && config.probe_secret != 0 && !suspicion.load(Ordering::Relaxed) {
            suspicion.store(true, Ordering::Relaxed);
        }
    }

    /// The owner of an address spoke from another MAC than it is known by. Says whether that is its own.
    fn hear(&self, owner: &Owner) -> bool {
        let source = self.frame.src();
        // Another endpoint of the same tunnel may route.
        if !owner.is_registered_with(source) && self.bridge.fdb.is_sticky(source) {
            return false;
        }
        owner.hear(source);
        true
    }

    fn for_group(&self, packet: Option<&Packet>, is_news: bool) -> Result<Verdict, DropReason> {
        if self.is_answered(packet, is_news) {
            self.charge(COPIES_PER_FRAME)?;
            return Ok(Verdict::Reply);
        }
        if let Some(edge) = self.topology.edge
            && edge != self.port.id
            && !self.topology.has_dhcp_server
            && packet.is_some_and(|packet| is_dhcp_request(self.frame, packet))
        {
            self.charge(COPIES_PER_FRAME)?;
            return Ok(Verdict::Unicast(edge));
        }
        let verdict = self.flood()?;
        if let Some(packet) = packet {
            self.note_listeners(packet);
        }
        Ok(verdict)
    }

    fn for_gateway(
        &self,
        gateway: &Gateway,
        packet: Option<&Packet>,
        is_news: bool,
    ) -> Result<Verdict, DropReason> {
        if self.is_answered(packet, is_news) {
            return Ok(Verdict::Reply);
        }
        let is_served = packet.is_some_and(|packet| match is_dhcp_request(self.frame, packet) {
            true => !self.topology.has_dhcp_server,
            false => {
                let intercepts = self.port.config.intercept_names && self.topology.host.is_some();
                gateway.serves_names(self.frame, packet)
                    || intercepts && gateway.leads_to_names(self.frame, packet)
            }
        });
        let egress = match (self.topology.edge, self.topology.host) {
            (Some(edge), _) if is_served => edge,
            (_, Some(host)) => host,
            (Some(edge), None) => edge,
            (None, None) => return Err(DropReason::NoGateway),
        };
        self.unicast(egress)
    }

    fn for_station(&self) -> Result<Verdict, DropReason> {
        match self.bridge.fdb.lookup(self.frame.dst()) {
            Some(egress) if self.topology.port(egress).is_some() => self.unicast(egress),
            _ => self.flood(),
        }
    }

    fn unicast(&self, egress: PortId) -> Result<Verdict, DropReason> {
        if egress == self.port.id {
            return Err(DropReason::Hairpin);
        }
        let port = self.topology.port(egress).ok_or(DropReason::EgressGone)?;
        if self.port.config.group.separates(port.config.group) {
            return Err(DropReason::SplitHorizon);
        }
        if port.block.is_some() {
            return Err(DropReason::PortBlocked);
        }
        if !self.frame.fits(port.config.mtu) {
            return Err(DropReason::Oversize);
        }
        Ok(Verdict::Unicast(egress))
    }

    /// To everybody, as far as the port's budget goes.
    fn flood(&self) -> Result<Verdict, DropReason> {
        if self.port.bum.is_some() {
            self.charge(self.cost())?;
        }
        Ok(Verdict::Flood)
    }

    fn charge(&self, copies: u32) -> Result<(), DropReason> {
        let frames = self.frame.segment_count();
        match &self.port.bum {
            Some(bucket) if copies > 0 && !bucket.admit(self.now, frames, copies) => {
                Err(DropReason::BumRate)
            }
            _ => Ok(()),
        }
    }

    /// The copies that a flood costs the sender.
    fn cost(&self) -> u32 {
        let copies = self.topology.flood.copies(self.port.config.group);
        let listeners = self.listeners(copies.div_ceil(COPIES_PER_FRAME));
        match listeners {
            0 => copies.max(COPIES_PER_FRAME),
            _ => copies.saturating_sub(listeners.saturating_mul(COPIES_PER_FRAME)),
        }
    }

    /// How many listen to the group that the frame is for; of more than `most`, so many.
    fn listeners(&self, most: u32) -> u32 {
        let group = self.frame.dst();
        if !group.is_multicast() {
            return 0;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let groups = &self.bridge.groups;
        let listeners = groups.listeners(self.now, group, self.port.id, most);
        u32::try_from(listeners).unwrap_or(u32::MAX)
    }

    fn note_listeners(&self, packet: &Packet) {
        let (groups, port) = (&self.bridge.groups, self.port.id);
        membership::read(self.frame, packet, |group, joins| match joins {
            true => groups.join(self.now, group, port),
            false => groups.leave(group, port),
        });
    }

    fn is_answered(&self, packet: Option<&Packet>, is_news: bool) -> bool {
        let neighbors = &self.topology.neighbors;
        proxy::answer(neighbors, self.port.id, self.frame, packet).is_some_and(|answer| {
            // Where there is no host port, nobody else would answer for the gateway.
            !is_news || (answer.is_gateway && self.topology.host.is_none())
        })
    }
}
