//! What the bridge decides about one frame; the order is that of [`super`]'s theory of operation.

use super::{Bridge, Passed};
use crate::bridge_port::BridgePort;
use crate::fdb::{FdbKind, Learned};
use crate::gateway::{Gateway, is_dhcp_request};
use crate::neighbors::Owner;
use crate::packet::Packet;
use crate::policy::{Action, Facts, Policy};
use crate::port_guards::FloodKind;
use crate::storm::COPIES_PER_FRAME;
use crate::topology::Topology;
use crate::trace::{Source, Step, Tracer};
use crate::vlan::{Tag, Vid};
use crate::{
    DropReason, Frame, Mac, PortId, PortKind, SplitHorizonGroup, Station, Time, Verdict, bpdu,
    guard, multicast, probe, proxy,
};

/// One frame on its way through the bridge.
pub(super) struct Passage<'a, T> {
    pub(super) bridge: &'a Bridge,
    pub(super) topology: &'a Topology,
    pub(super) port: &'a BridgePort,
    pub(super) now: Time,
    /// In a network that is aware of VLANs, beneath the tag of its own once that is known.
    pub(super) frame: &'a Frame<'a>,
    pub(super) vlan: Option<Vid>,
    pub(super) tracer: &'a T,
}

impl<T: Tracer> Passage<'_, T> {
    pub(super) fn decide(&self) -> Result<Passed, DropReason> {
        let without = |verdict| Passed { verdict, tag: None };
        let is_probe = probe::is_probe(self.frame);
        if is_probe && self.bridge.probe(self.frame).is_some() {
            // Where other frames would not be admitted, nothing goes round.
            if let Some(admitted) = self.admit() {
                admitted?;
            }
            self.tracer.note(|| Step::Probe);
            return Ok(without(Verdict::Probe));
        }
        self.open(self.port)?;
        self.bpdu()?;
        match self.admit() {
            Some(admitted) => self.decide_in_vlan(admitted, is_probe),
            None => self.route(is_probe).map(without),
        }
    }

    /// Where the network is aware of VLANs: to which one the frame belongs, and what is beneath its tag.
    #[inline]
    pub(super) fn admit(&self) -> Option<Result<(Tag, Frame<'_>), DropReason>> {
        let vlans = self.port.vlans.as_ref()?;
        let network = self.bridge.config.vlans?;
        Some(Tag::admit(network, vlans, self.frame))
    }

    fn decide_in_vlan(
        &self,
        admitted: Result<(Tag, Frame<'_>), DropReason>,
        is_probe: bool,
    ) -> Result<Passed, DropReason> {
        self.tracer.note(|| Step::Vlan {
            port: self.port.id,
            admitted: admitted.map(|(tag, _)| tag),
        });
        let (tag, inner) = admitted?;
        let verdict = self.beneath(tag, &inner).route(is_probe)?;
        Ok(Passed {
            verdict,
            tag: Some(tag),
        })
    }

    /// The same frame beneath its tag.
    pub(super) fn beneath<'b>(&'b self, tag: Tag, inner: &'b Frame<'b>) -> Passage<'b, T> {
        Passage {
            frame: inner,
            vlan: Some(tag.vid()),
            ..*self
        }
    }

    fn route(&self, is_probe: bool) -> Result<Verdict, DropReason> {
        let frame = self.frame;
        if is_probe {
            return self.flood();
        }
        self.control()?;
        let packet = self.packet();
        let guard = self.guard(packet.as_ref());
        let owner = self.judge(&guard)?;
        self.learn()?;
        let is_news = owner.is_some_and(|owner| {
            !owner.is_known_by(frame.src()) && guard.shows_mac() && self.hear(owner)
        });
        if frame.dst().is_multicast() {
            return self.for_group(packet.as_ref(), is_news);
        }
        match self.gateway() {
            Some(gateway) => self.for_gateway(gateway, packet.as_ref(), is_news),
            None => self.for_station(packet.as_ref()),
        }
    }

    /// Whether the port lets the frame pass, in either direction.
    fn open(&self, port: &BridgePort) -> Result<(), DropReason> {
        let (id, mtu) = (port.id, port.config.mtu);
        if let Some(why) = port.block {
            self.tracer.note(|| Step::Blocked { port: id, why });
            return Err(DropReason::PortBlocked);
        }
        if !self.frame.fits(mtu) {
            self.tracer.note(|| Step::TooLong { port: id, mtu });
            return Err(DropReason::Oversize);
        }
        Ok(())
    }

    fn bpdu(&self) -> Result<(), DropReason> {
        if self.port.config.guards.bpdu.is_some() && bpdu::is_bpdu(self.frame) {
            self.tracer.note(|| Step::Bpdu);
            return Err(DropReason::BpduGuard);
        }
        Ok(())
    }

    fn control(&self) -> Result<(), DropReason> {
        let (group, transparent) = (self.frame.dst(), self.bridge.config.transparent);
        if !group.is_link_local_control() {
            return Ok(());
        }
        self.tracer
            .note(|| Step::LinkControl { group, transparent });
        match transparent {
            true => Ok(()),
            false => Err(DropReason::LinkLocalControl),
        }
    }

    fn judge<'s>(&self, guard: &guard::Guard<'s>) -> Result<Option<&'s Owner>, DropReason> {
        let kind = self.port.config.kind;
        if !kind.is_guarded() {
            self.tracer.note(|| Step::Unguarded(kind));
            return Ok(None);
        }
        let judged = guard.judge();
        self.tracer.note(|| Step::Guard {
            refused: judged.err(),
            claims: guard.claims(),
        });
        judged
    }

    fn guard<'s>(&'s self, packet: Option<&'s Packet>) -> guard::Guard<'s> {
        guard::Guard {
            frame: self.frame,
            packet,
            port: self.port,
            vlan: self.vlan,
            is_home: self.is_home(),
            topology: self.topology,
        }
    }

    /// Whether the gateway lives where the frame belongs.
    #[inline]
    fn is_home(&self) -> bool {
        self.vlan == self.bridge.home()
    }

    #[inline]
    pub(super) fn station(&self, mac: Mac) -> Station {
        Station::new(self.vlan, mac)
    }

    fn learn(&self) -> Result<(), DropReason> {
        let (source, id, config) = (self.frame.src(), self.port.id, &self.port.config);
        if self.is_asked_by_another_host() {
            self.note_source(|| Source::NotLearned);
            return Ok(());
        }
        if self.is_home() && self.topology.is_gateway(source) {
            self.note_source(|| Source::Gateway);
            return Ok(());
        }
        let (fdb, station) = (&self.bridge.fdb, self.station(source));
        if config.reflects && fdb.is_sticky(station) {
            self.note_source(|| Source::NotLearned);
            return Ok(());
        }
        if config.guards.locked && !fdb.is_configured(station, id) {
            self.note_source(|| Source::Locked);
            return Err(DropReason::LockedPort);
        }
        let learned = if config.learning && fdb.learns() {
            let limit = usize::try_from(config.learn_limit).unwrap_or(usize::MAX);
            let learned = fdb.learn(self.now, station, id, limit);
            if matches!(learned, Learned::Moved { .. } | Learned::Refused) {
                self.suspect();
            }
            Some(learned)
        } else {
            fdb.is_refused(station, id).then_some(Learned::Refused)
        };
        let entry = || fdb.find(station);
        self.note_source(|| match learned {
            None => Source::NotLearned,
            Some(Learned::Refused) => Source::Stolen {
                owner: entry().map(|(owner, _)| owner),
            },
            Some(learned) => Source::Noted {
                learned,
                kind: entry().map_or(FdbKind::Learned, |(_, kind)| kind),
            },
        });
        match learned {
            Some(Learned::Refused) => Err(DropReason::StickyMac),
            _ => Ok(()),
        }
    }

    fn note_source(&self, found: impl FnOnce() -> Source) {
        let mac = self.frame.src();
        self.tracer.note(|| Step::Source {
            mac,
            found: found(),
        });
    }

    fn suspect(&self) {
        let config = &self.bridge.config;
        if !config.transparent && config.probe_secret != 0 {
            self.bridge.suspicion.note(self.vlan);
        }
    }

    /// The owner of an address spoke from another MAC than it is known by. Says whether that is its own.
    fn hear(&self, owner: &Owner) -> bool {
        let source = self.frame.src();
        // Another endpoint of the same tunnel may route.
        if !owner.is_registered_with(source) && self.bridge.fdb.is_sticky(self.station(source)) {
            return false;
        }
        owner.hear(source);
        self.tracer.note(|| Step::News { mac: source });
        true
    }

    fn for_group(&self, packet: Option<&Packet>, is_news: bool) -> Result<Verdict, DropReason> {
        self.wake_vlan();
        if self.is_answered(packet, is_news) {
            self.charge(COPIES_PER_FRAME)?;
            return Ok(Verdict::Reply);
        }
        // Who asks from a LAN is no endpoint here.
        if let Some(edge) = self.topology.edge
            && self.is_home()
            && edge != self.port.id
            && self.port.config.kind != PortKind::Uplink
            && packet.is_some_and(|packet| is_dhcp_request(self.frame, packet))
        {
            let served = !self.topology.has_dhcp_server;
            self.tracer.note(|| Step::Dhcp { served });
            if served {
                self.charge(COPIES_PER_FRAME)?;
                return Ok(Verdict::Unicast(edge));
            }
        }
        self.tracer.note(|| Step::Group(self.frame.dst()));
        if let (Some(snoopers), Some(packet)) = (&self.bridge.snoopers, packet) {
            return self.for_listeners(snoopers, packet);
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
        let (egress, is_exempt) = self.behind_gateway(gateway, packet);
        self.tracer.note(|| Step::Gateway {
            egress,
            to_edge: egress.is_some() && egress == self.topology.edge,
        });
        let egress = egress.ok_or(DropReason::NoGateway)?;
        match is_exempt {
            true => self.reach(egress).map(|port| Verdict::Unicast(port.id)),
            false => self.unicast(egress, packet),
        }
    }

    /// Where a frame for the gateway goes, and whether it goes there whatever the access list says.
    pub(super) fn behind_gateway(
        &self,
        gateway: &Gateway,
        packet: Option<&Packet>,
    ) -> (Option<PortId>, bool) {
        let is_dhcp = packet.is_some_and(|packet| is_dhcp_request(self.frame, packet));
        let is_served = packet.is_some_and(|packet| match is_dhcp {
            true => !self.topology.has_dhcp_server,
            false => {
                let intercepts = self.port.config.intercept_names && self.topology.host.is_some();
                gateway.serves_names(self.frame, packet)
                    || intercepts && gateway.leads_to_names(self.frame, packet)
            }
        });
        let egress = match (self.topology.edge, self.topology.host) {
            (Some(edge), _) if is_served => Some(edge),
            (_, Some(host)) => Some(host),
            (edge, None) => edge,
        };
        (egress, is_dhcp && is_served)
    }

    fn for_station(&self, packet: Option<&Packet>) -> Result<Verdict, DropReason> {
        let (fdb, mac) = (&self.bridge.fdb, self.frame.dst());
        let station = self.station(mac);
        let known = fdb.lookup(station);
        let egress = known.filter(|egress| self.topology.port(*egress).is_some());
        self.tracer.note(|| Step::Destination {
            mac,
            entry: fdb.find(station),
            attached: egress.is_some(),
        });
        match egress {
            Some(egress) => self.unicast(egress, packet),
            None => self.flood(),
        }
    }

    fn unicast(&self, egress: PortId, packet: Option<&Packet>) -> Result<Verdict, DropReason> {
        let port = self.reach(egress)?;
        if let Some(policy) = &self.topology.policy {
            self.permit(policy, port, packet)?;
        }
        Ok(Verdict::Unicast(port.id))
    }

    fn permit(
        &self,
        policy: &Policy,
        egress: &BridgePort,
        packet: Option<&Packet>,
    ) -> Result<(), DropReason> {
        let facts = Facts::of(self.frame, packet);
        let judged = policy.judge(self.port, egress, self.frame, &facts);
        let egress = egress.id;
        self.tracer.note(|| Step::Acl { egress, judged });
        match judged.action {
            Action::Allow => Ok(()),
            Action::Deny => Err(DropReason::Acl),
        }
    }

    /// What the frame carries; what a tagged one does is another network's.
    #[inline]
    pub(super) fn packet(&self) -> Option<Packet> {
        self.frame
            .is_untagged()
            .then(|| Packet::parse(self.frame))
            .flatten()
    }

    /// The gateway, where the frame is for it.
    #[inline]
    pub(super) fn gateway(&self) -> Option<&Gateway> {
        let gateway = self.topology.gateway.as_deref();
        gateway.filter(|gateway| gateway.mac == self.frame.dst() && self.is_home())
    }

    /// The port, if frames from here may go there at all.
    pub(super) fn reach(&self, egress: PortId) -> Result<&BridgePort, DropReason> {
        if egress == self.port.id {
            self.tracer.note(|| Step::Hairpin(egress));
            return Err(DropReason::Hairpin);
        }
        let Some(port) = self.topology.port(egress) else {
            self.tracer.note(|| Step::EgressGone(egress));
            return Err(DropReason::EgressGone);
        };
        if self.port.config.group.separates(port.config.group) {
            let reflector = self.topology.reflector;
            let Some(reflector) = reflector.filter(|reflector| *reflector != self.port.id) else {
                self.tracer.note(|| Step::Separated(egress));
                return Err(DropReason::SplitHorizon);
            };
            self.tracer.note(|| Step::Reflected { egress, reflector });
            return self.reach(reflector);
        }
        self.belongs(port)?;
        self.open(port)?;
        Ok(port)
    }

    /// Whether the egress belongs to the frame's VLAN.
    fn belongs(&self, egress: &BridgePort) -> Result<(), DropReason> {
        let (Some(vid), Some(vlans)) = (self.vlan, &egress.vlans) else {
            return Ok(());
        };
        if vlans.shape(vid).is_some() {
            return Ok(());
        }
        self.tracer.note(|| Step::OutsideVlan {
            port: egress.id,
            vid,
        });
        Err(DropReason::VlanEgress)
    }

    /// To everybody, as far as the port's budget goes.
    pub(super) fn flood(&self) -> Result<Verdict, DropReason> {
        if self.port.bum.is_some() {
            self.charge(self.cost())?;
        } else {
            self.charge_kind()?;
        }
        Ok(Verdict::Flood)
    }

    /// What the budget of the frame's kind has to say.
    fn charge_kind(&self) -> Result<(), DropReason> {
        let (kind, frames) = (FloodKind::of(self.frame.dst()), self.frame.segment_count());
        let Some(charge) = self.port.storm.charge(self.now, kind, frames) else {
            return Ok(());
        };
        self.tracer.note(|| Step::StormKind {
            kind,
            limit: charge.limit,
            frames,
            passed: charge.passed,
        });
        charge.outcome()
    }

    pub(super) fn charge(&self, copies: u32) -> Result<(), DropReason> {
        self.charge_kind()?;
        let frames = self.frame.segment_count();
        let (Some(bucket), Some(limit)) = (&self.port.bum, self.port.config.bum_limit) else {
            return Ok(());
        };
        let passed = copies == 0 || bucket.admit(self.now, frames, copies);
        self.tracer.note(|| Step::Storm {
            limit,
            frames,
            copies,
            passed,
        });
        match passed {
            true => Ok(()),
            false => Err(DropReason::BumRate),
        }
    }

    /// The copies that a flood costs the sender.
    fn cost(&self) -> u32 {
        let copies = match self.vlan {
            None => self.topology.flood.copies(self.port.config.group),
            Some(vid) => self.topology.copies_in(vid, self.port),
        };
        cost(copies, self.listeners(copies.div_ceil(COPIES_PER_FRAME)))
    }

    /// How many listen to the group that the frame is for; of more than `most`, so many.
    fn listeners(&self, most: u32) -> u32 {
        let group = self.frame.dst();
        if !group.is_multicast() {
            return 0;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let listeners = &self.bridge.listeners;
        let listeners = listeners.listeners(self.now, group, self.port.id, most);
        let ports = u32::try_from(listeners).unwrap_or(u32::MAX);
        if ports > 0 {
            self.tracer.note(|| Step::Listeners { group, ports });
        }
        ports
    }

    fn note_listeners(&self, packet: &Packet) {
        let multicast::Read::Message(_, message) = multicast::read(self.frame, packet) else {
            return;
        };
        let listeners = &self.bridge.listeners;
        listeners.hear(self.now, self.port.id, message, |group, joins| {
            self.tracer.note(|| Step::Report { group, joins });
        });
    }

    fn is_answered(&self, packet: Option<&Packet>, is_news: bool) -> bool {
        let neighbors = &self.topology.neighbors;
        let answer = proxy::answer(neighbors, (self.vlan, self.port.id), self.frame, packet);
        let answers = answer.is_some_and(|answer| {
            if answer.is_gateway && self.is_beyond_host() {
                return false;
            }
            // Where there is no host port, nobody else would answer for the gateway.
            !is_news || (answer.is_gateway && self.topology.host.is_none())
        });
        if T::LISTENS
            && let Some(address) = proxy::asked(self.frame, packet)
        {
            self.tracer.note(|| Step::WhoHas {
                address,
                known: neighbors.lookup_in(self.vlan, address),
                answers,
            });
        }
        answers
    }

    /// Whether the frame came from a LAN that has the host's addresses elsewhere.
    fn is_beyond_host(&self) -> bool {
        self.port.config.group == SplitHorizonGroup::LAN
    }
}

/// What so many copies, some of them to listeners, cost the sender.
pub(super) fn cost(copies: u32, listeners: u32) -> u32 {
    match listeners {
        0 => copies.max(COPIES_PER_FRAME),
        _ => copies.saturating_sub(listeners.saturating_mul(COPIES_PER_FRAME)),
    }
}
