//! The bridge of one network.
//!
//! # Theory of operation
//!
//! [`Bridge::forward`] decides one frame, in this order:
//!
//! 1. The ingress port must be attached here and not blocked, the frame within its MTU, and not for the link-constrained group
//!    addresses, unless the network is transparent. A probe of this bridge ends here ([`crate::probe`]).
//! 2. A frame from a sandbox, a tunnel or a patch passes the guard ([`crate::guard`]).
//! 3. Its source is learned. A source that belongs to another port for good condemns the frame. The gateway's MAC is never
//!    learned: it has several ports.
//! 4. Who-has of a known address is answered here ([`crate::proxy`]), unless who asks has another MAC than it is known by:
//!    then everybody hears it, since others remember the old one.
//! 5. For the gateway's MAC: edge or host port ([`crate::gateway`]). For a group: DHCP requests to the edge, all else to
//!    everybody. For a known station: its port, unless that is the ingress or separated from it. Otherwise to everybody.
//!
//! What goes to everybody, or asks the bridge by calling everybody, pays the port's token bucket, by its copies
//! ([`crate::storm`]); what is multicast to listeners pays less ([`crate::groups`]).
//!
//! A station that moved, or that speaks from a port which is not its own, may be seen twice because there is a loop. The bridge
//! notes that it suspects one and goes on; whoever moves its frames asks ([`Bridge::take_suspicion`]). A transparent network
//! suspects nothing: loops are for whoever made it so, with a protocol of his own.
//!
//! State: ports, gateway and addresses in a [`Topology`] that is replaced as a whole (one writer at a time, readers never
//! wait); the FDB; the groups. A frame that is under way while a port goes may still be learned behind it; such an entry is
//! treated as unknown and ages. `forward` allocates nothing and holds no lock when it returns.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::bridge_port::BridgePort;
use crate::fdb::{Fdb, FdbConfig, FdbKind, Learned};
use crate::gateway::{Gateway, is_dhcp_request};
use crate::groups::Groups;
use crate::neighbors::{Neighbor, Neighbors, Owner, link_local};
use crate::packet::Packet;
use crate::probe::{self, Probe};
use crate::proxy::{self, ADVERTISEMENT_LEN};
use crate::storm::COPIES_PER_FRAME;
use crate::topology::Topology;
use crate::{Block, DropReason, Frame, Mac, PortConfig, PortId, Time, Verdict};
use crate::{guard, lock, membership};

/// One network on this host.
#[derive(Debug)]
pub struct Bridge {
    config: BridgeConfig,
    fdb: Fdb,
    groups: Groups,
    suspicion: AtomicBool,
    ports: ArcSwap<Topology>,
    /// Taken by whoever changes ports, gateway or endpoints; never by `forward`.
    endpoints: Mutex<HashMap<Mac, Endpoint>>,
}

/// What a network asks of its bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeConfig {
    pub fdb: FdbConfig,
    /// Forward the link-constrained group addresses `01:80:C2:00:00:0x`, for labs that run STP, LACP or LLDP.
    pub transparent: bool,
    /// What makes this bridge's probes its own, from the caller's randomness; zero: it never suspects a loop.
    pub probe_secret: u128,
}

impl Bridge {
    /// Longest answer of [`Self::reply`], in bytes.
    pub const REPLY_LEN_MAX: usize = ADVERTISEMENT_LEN;

    pub fn new(config: BridgeConfig) -> Self {
        Self {
            config,
            fdb: Fdb::new(config.fdb),
            groups: Groups::default(),
            suspicion: AtomicBool::new(false),
            ports: ArcSwap::from_pointee(Topology::new(Vec::new(), None, Neighbors::new())),
            endpoints: Mutex::default(),
        }
    }

    /// Attaches a port, or changes the configuration of one that is attached.
    pub fn add_port(&self, id: PortId, config: PortConfig) {
        let _turn = self.turn();
        let topology = self.ports.load();
        let block = topology.port(id).and_then(|port| port.block);
        let port = Arc::new(BridgePort::new(id, config).with_block(block));
        let mut ports = Vec::with_capacity(topology.ports().len() + 1);
        ports.extend(
            topology
                .ports()
                .iter()
                .filter(|port| port.id != id)
                .cloned(),
        );
        ports.push(port);
        self.store(Topology::new(
            ports,
            topology.gateway.clone(),
            topology.neighbors.clone(),
        ));
    }

    /// Detaches a port and forgets what lives behind it: FDB entries of any kind, endpoints and their addresses.
    /// Repeating it does nothing.
    pub fn remove_port(&self, id: PortId) {
        let mut endpoints = self.turn();
        let topology = self.ports.load();
        let mut neighbors = topology.neighbors.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "each leaves for itself, in whatever order"
        )]
        let gone = endpoints.extract_if(|_, endpoint| endpoint.port == id);
        gone.for_each(|(_, gone)| gone.leave(&mut neighbors));
        let ports = topology.ports().iter().filter(|port| port.id != id);
        self.store(Topology::new(
            ports.cloned().collect(),
            topology.gateway.clone(),
            neighbors,
        ));
        self.fdb.flush_port(id);
        self.groups.remove_port(id);
    }

    /// From now on nothing passes the port, and what was learned behind it is forgotten. Says whether that is news: false where
    /// it is not attached, or was blocked before.
    pub fn block(&self, id: PortId, why: Block) -> bool {
        let is_news = self.set_block(id, None, Some(why));
        if is_news {
            self.fdb.flush_learned(id);
        }
        is_news
    }

    /// Undoes [`Self::block`] where it was for this reason; says whether it was.
    pub fn unblock(&self, id: PortId, why: Block) -> bool {
        self.set_block(id, Some(why), None)
    }

    /// Why the port is blocked, if it is.
    pub fn blocked(&self, id: PortId) -> Option<Block> {
        self.ports.load().port(id)?.block
    }

    fn set_block(&self, id: PortId, from: Option<Block>, to: Option<Block>) -> bool {
        let _turn = self.turn();
        let topology = self.ports.load();
        if topology.port(id).is_none_or(|port| port.block != from) {
            return false;
        }
        let ports = topology.ports().iter().map(|port| match port.id == id {
            true => Arc::new(port.with_block(to)),
            false => Arc::clone(port),
        });
        self.store(Topology::new(
            ports.collect(),
            topology.gateway.clone(),
            topology.neighbors.clone(),
        ));
        true
    }

    /// The configuration of an attached port.
    pub fn port_config(&self, id: PortId) -> Option<PortConfig> {
        self.ports.load().port(id).map(|port| port.config)
    }

    /// The attached ports, in the order they came.
    pub fn ports(&self) -> Vec<PortId> {
        self.ports
            .load()
            .ports()
            .iter()
            .map(|port| port.id)
            .collect()
    }

    /// Sets the gateway's MAC and addresses, in place of the previous ones. Without addresses there is still a gateway:
    /// its MAC is protected and has its ports.
    pub fn set_gateway(&self, mac: Mac, addresses: &[IpAddr]) {
        let _turn = self.turn();
        let topology = self.ports.load();
        let mut neighbors = topology.neighbors.clone();
        let gateway = |mac| Neighbor { mac, port: None };
        if let Some(old) = &topology.gateway {
            let addresses: Vec<_> = old.addresses().collect();
            for address in with_link_local(old.mac, &addresses) {
                neighbors.remove(address, gateway(old.mac));
            }
        }
        for address in with_link_local(mac, addresses) {
            neighbors.insert(address, gateway(mac));
        }
        self.fdb.remove(mac);
        self.store(Topology::new(
            topology.ports().to_vec(),
            Some(Arc::new(Gateway::new(mac, addresses))),
            neighbors,
        ));
    }

    /// Gives an endpoint's MAC to its port for good, and answers for its addresses, the link-local one included. Repeating it changes port and addresses.
    /// The gateway's MAC and addresses stay the gateway's.
    pub fn register_endpoint(&self, port: PortId, mac: Mac, addresses: &[IpAddr]) {
        let mut endpoints = self.turn();
        let topology = self.ports.load();
        let mut neighbors = topology.neighbors.clone();
        let endpoint = Endpoint {
            mac,
            port,
            addresses: with_link_local(mac, addresses),
        };
        if let Some(old) = endpoints.remove(&mac) {
            old.leave(&mut neighbors);
        }
        for address in &endpoint.addresses {
            neighbors.insert(*address, endpoint.neighbor());
        }
        endpoints.insert(mac, endpoint);
        self.store(topology.with_neighbors(neighbors));
        self.fdb.insert(mac, port, FdbKind::Sticky);
    }

    /// Undoes [`Self::register_endpoint`]. Does nothing when there is no such endpoint.
    pub fn unregister_endpoint(&self, mac: Mac) {
        let mut endpoints = self.turn();
        if let Some(gone) = endpoints.remove(&mac) {
            let topology = self.ports.load();
            let mut neighbors = topology.neighbors.clone();
            gone.leave(&mut neighbors);
            self.store(topology.with_neighbors(neighbors));
            self.fdb.remove(mac);
        }
    }

    /// Decides where a frame that came in on `ingress` goes, and learns its source. Counts nothing: that is the caller's,
    /// who has the port's counters.
    pub fn forward(&self, now: Time, ingress: PortId, frame: &Frame<'_>) -> Verdict {
        let topology = self.ports.load();
        let Some(port) = topology.port(ingress) else {
            return Verdict::Drop(DropReason::UnknownIngress);
        };
        let passage = Passage {
            bridge: self,
            topology: &topology,
            port,
            now,
            frame,
        };
        passage.decide().unwrap_or_else(Verdict::Drop)
    }

    /// The ports a flooded frame from `ingress` goes to; skip `ingress` itself, which may be among them. Empty when the port
    /// is not attached. Hold it for the batch, not longer.
    pub fn flood_list(&self, ingress: PortId) -> FloodList {
        FloodList {
            topology: self.ports.load(),
            ingress,
        }
    }

    /// Writes the answer to a frame whose verdict was [`Verdict::Reply`] to the start of `out`, and returns its length. Zero:
    /// `out` is shorter than [`Self::REPLY_LEN_MAX`], or who was asked for has gone meanwhile; send nothing.
    pub fn reply(&self, ingress: PortId, frame: &Frame<'_>, out: &mut [u8]) -> usize {
        let packet = Packet::parse(frame);
        let topology = self.ports.load();
        match proxy::answer(&topology.neighbors, ingress, frame, packet.as_ref()) {
            Some(answer) => answer.write(out),
            None => 0,
        }
    }

    /// Whether something looked like a loop since this was last asked. Costs a look as long as nothing does.
    #[inline]
    pub fn take_suspicion(&self) -> bool {
        self.suspicion.load(Ordering::Relaxed) && self.suspicion.swap(false, Ordering::Relaxed)
    }

    /// Reads a frame whose verdict was [`Verdict::Probe`].
    pub fn probe(&self, frame: &Frame<'_>) -> Option<Probe> {
        Probe::read(frame, self.config.probe_secret)
    }

    /// A probe of this bridge, to be sent out of its port.
    pub fn write_probe(&self, probe: Probe) -> [u8; Probe::LEN] {
        probe.write(self.config.probe_secret)
    }

    /// Reports of listeners to multicast groups that found no room: their groups cost as if nobody listened.
    pub fn listeners_full(&self) -> u64 {
        self.groups.full()
    }

    pub const fn fdb(&self) -> &Fdb {
        &self.fdb
    }

    /// Enters what a bridge before this one had learned at the port, where that learns; each MAC with its age.
    pub fn recall(&self, now: Time, port: PortId, learned: &[(Mac, Duration)]) {
        let config = self.port_config(port).filter(|config| config.learning);
        let Some(config) = config else {
            return;
        };
        let limit = usize::try_from(config.learn_limit).unwrap_or(usize::MAX);
        for (mac, age) in learned {
            self.fdb.recall(now, *mac, port, *age, limit);
        }
    }

    /// Who has which address now.
    pub fn neighbors(&self) -> Neighbors {
        self.ports.load().neighbors.clone()
    }

    /// Forgets what has not been heard of for too long. Call about once a second.
    pub fn age(&self, now: Time) {
        self.fdb.age(now);
        self.groups.age(now);
    }

    fn store(&self, topology: Topology) {
        self.ports.store(Arc::new(topology));
    }

    fn turn(&self) -> MutexGuard<'_, HashMap<Mac, Endpoint>> {
        lock(&self.endpoints)
    }
}

/// Where a flooded frame goes; see [`Bridge::flood_list`].
pub struct FloodList {
    topology: Guard<Arc<Topology>>,
    ingress: PortId,
}

impl Deref for FloodList {
    type Target = [PortId];

    fn deref(&self) -> &[PortId] {
        match self.topology.port(self.ingress) {
            Some(port) => self.topology.flood.list(port.config.group),
            None => &[],
        }
    }
}

#[derive(Debug)]
struct Endpoint {
    mac: Mac,
    port: PortId,
    addresses: Vec<IpAddr>,
}

impl Endpoint {
    const fn neighbor(&self) -> Neighbor {
        Neighbor {
            mac: self.mac,
            port: Some(self.port),
        }
    }

    /// Takes its addresses away, as far as they are still its own.
    fn leave(&self, neighbors: &mut Neighbors) {
        for address in &self.addresses {
            neighbors.remove(*address, self.neighbor());
        }
    }
}

/// A station with IPv6 has one more address, which nobody gave it.
fn with_link_local(mac: Mac, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut all = addresses.to_vec();
    if addresses.iter().any(IpAddr::is_ipv6) {
        all.push(link_local(mac).into());
    }
    all
}

/// One frame on its way through the bridge.
#[derive(Clone, Copy)]
struct Passage<'a> {
    bridge: &'a Bridge,
    topology: &'a Topology,
    port: &'a BridgePort,
    now: Time,
    frame: &'a Frame<'a>,
}

impl Passage<'_> {
    fn decide(&self) -> Result<Verdict, DropReason> {
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

#[cfg(test)]
mod tests;
