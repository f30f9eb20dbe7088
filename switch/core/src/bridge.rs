//! The bridge of one network.
//!
//! # Theory of operation
//!
//! [`Bridge::forward`] decides one frame, in this order:
//!
//! 1. The ingress port must be attached here and not blocked, the frame within its MTU, no BPDU where the port is guarded against
//!    them ([`crate::bpdu`]), and not for the link-constrained group addresses, unless the network is transparent. A probe of this
//!    bridge ends here ([`crate::probe`]).
//!    In a network that is aware of VLANs the port then says which of them it belongs to ([`crate::vlan`]), and everything below
//!    is about that VLAN and the frame beneath its tag.
//! 2. A frame from a sandbox, a tunnel or a patch passes the guard ([`crate::guard`]).
//! 3. Its source is learned. A source that belongs to another port for good condemns the frame, and at a locked port so does one that
//!    is not configured there ([`crate::port_guards`]). The gateway's MAC is never
//!    learned: it has several ports.
//! 4. Who-has of a known address is answered here ([`crate::proxy`]), unless who asks has another MAC than it is known by:
//!    then everybody hears it, since others remember the old one.
//! 5. For the gateway's MAC: edge or host port ([`crate::gateway`]). For a group: DHCP requests to the edge, all else to
//!    everybody. For a known station: its port, unless that is the ingress or separated from it. Otherwise to everybody.
//!
//! Where the network has an access list, it judges a frame when its egress is known, and what is flooded for each port that it goes to
//! ([`crate::policy`]).
//!
//! What goes to everybody, or asks the bridge by calling everybody, pays the port's token bucket, by its copies
//! ([`crate::storm`]); what is multicast to listeners pays less. A bridge that snoops sends that to listeners alone
//! ([`crate::multicast`]).
//!
//! A station that moved, or that speaks from a port which is not its own, may be seen twice because there is a loop. The bridge
//! notes that it suspects one, and in which VLAN, and goes on; whoever moves its frames asks ([`Bridge::take_suspicion`]). A
//! transparent network suspects nothing: loops are for whoever made it so, with a protocol of his own.
//!
//! The same function decides frames that are only made up, on a copy of the bridge: see [`Rehearsal`].
//!
//! State: ports, gateway and addresses in a [`Topology`] that is replaced as a whole (one writer at a time, readers never
//! wait); the FDB; the groups and their listeners. A frame that is under way while a port goes may still be learned behind it; such an entry is
//! treated as unknown and ages. `forward` allocates nothing and holds no lock when it returns.

mod denial;
mod endpoint;
mod flood_list;
mod groups;
mod passage;
mod rehearsal;
mod stations;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;

use self::endpoint::{Endpoint, with_link_local};
pub use self::flood_list::{FloodList, Withheld};
pub use self::groups::GroupList;
use self::passage::Passage;
pub use self::rehearsal::Rehearsal;
use crate::bridge_port::BridgePort;
use crate::fdb::{Fdb, FdbConfig};
use crate::gateway::Gateway;
use crate::lock;
use crate::loop_finder::LoopFinder;
use crate::multicast::{Listeners, Snoopers, SnoopingConfig};
use crate::neighbors::{Neighbor, Neighbors};
use crate::packet::Packet;
use crate::policy::Policy;
use crate::probe::Probe;
use crate::proxy::{self, ADVERTISEMENT_LEN};
use crate::suspicion::Suspicion;
use crate::topology::Topology;
use crate::trace::{Silent, Step, Tracer};
use crate::vlan::{PortVlans, Shape, Tag, Vid, VlanConfig};
use crate::{Block, DropReason, Frame, Mac, PortConfig, PortId, Station, Time, Verdict};

/// One network on this host.
#[derive(Debug)]
pub struct Bridge {
    config: BridgeConfig,
    fdb: Fdb,
    listeners: Listeners,
    /// Where the network snoops.
    snoopers: Option<Snoopers>,
    suspicion: Suspicion,
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
    /// Send multicast to those who asked for it, in each VLAN by itself; where that is not said, to everybody.
    pub snooping: Option<SnoopingConfig>,
    /// How it is aware of VLANs; absent: tags are payload.
    pub vlans: Option<VlanConfig>,
}

/// What [`Bridge::pass`] decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    pub verdict: Verdict,
    /// Of a frame that goes somewhere, in a network that is aware of VLANs: it leaves by each port in the form that
    /// [`Bridge::shape`] says.
    pub tag: Option<Tag>,
}

impl Bridge {
    /// Longest answer of [`Self::reply`], in bytes.
    pub const REPLY_LEN_MAX: usize = ADVERTISEMENT_LEN + Tag::LEN;

    pub fn new(config: BridgeConfig) -> Self {
        Self {
            config,
            fdb: Fdb::new(config.fdb),
            listeners: Listeners::default(),
            snoopers: config
                .snooping
                .map(|snooping| Snoopers::new(snooping, config.vlans.is_some())),
            suspicion: Suspicion::default(),
            ports: ArcSwap::from_pointee(Topology::new(Vec::new(), None, Neighbors::new())),
            endpoints: Mutex::default(),
        }
    }

    /// Attaches a port, or changes the configuration of one that is attached.
    pub fn add_port(&self, id: PortId, config: PortConfig) {
        let mut endpoints = self.turn();
        let topology = self.ports.load();
        let block = topology.port(id).and_then(|port| port.block);
        let port = BridgePort::new(id, config).in_network(self.config.vlans);
        let port = Arc::new(port.with_block(block));
        let mut neighbors = topology.neighbors.clone();
        if topology.port(id).is_some_and(|old| old.vlans != port.vlans) {
            self.move_endpoints(&mut endpoints, &mut neighbors, &port);
        }
        let mut ports = Vec::with_capacity(topology.ports().len() + 1);
        ports.extend(
            topology
                .ports()
                .iter()
                .filter(|port| port.id != id)
                .cloned(),
        );
        ports.push(Arc::clone(&port));
        self.store(Topology::new(ports, topology.gateway.clone(), neighbors));
        if let Some(snoopers) = &self.snoopers {
            snoopers.add_port(id, &port.config, port.vlans.as_ref());
        }
    }

    /// The port belongs to other VLANs than before, and so do those who are registered there.
    fn move_endpoints(
        &self,
        endpoints: &mut HashMap<Mac, Endpoint>,
        neighbors: &mut Neighbors,
        port: &BridgePort,
    ) {
        #[expect(
            clippy::disallowed_methods,
            reason = "each moves for itself, in whatever order"
        )]
        let here = endpoints.values_mut().filter(|one| one.port == port.id);
        for endpoint in here {
            let moved = Endpoint {
                vlans: port.vlans.clone(),
                addresses: endpoint.addresses.clone(),
                ..*endpoint
            };
            endpoint.leave(neighbors);
            moved.arrive(neighbors);
            moved.settle(&self.fdb);
            endpoint.unsettle(&self.fdb, Some(&moved));
            *endpoint = moved;
        }
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
        self.listeners.remove_port(id);
        if let Some(snoopers) = &self.snoopers {
            snoopers.remove_port(id);
        }
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
        self.ports.load().port(id).map(|port| port.config.clone())
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
        let home = self.home();
        for address in with_link_local(mac, addresses) {
            neighbors.insert(home, address, gateway(mac));
        }
        self.fdb.remove(Station::new(home, mac));
        self.store(Topology::new(
            topology.ports().to_vec(),
            Some(Arc::new(Gateway::new(mac, addresses))),
            neighbors,
        ));
    }

    /// Gives an endpoint's MAC to its port for good, and answers for its addresses, the link-local one included. Repeating it changes port and addresses.
    /// The gateway's MAC and addresses stay the gateway's. In a network that is aware of VLANs the MAC is the port's in all of the
    /// port's, and the addresses live in the native one.
    pub fn register_endpoint(&self, port: PortId, mac: Mac, addresses: &[IpAddr]) {
        let own = self.ports.load().port(port).map(|port| port.vlans.clone());
        self.register(port, mac, addresses, own.flatten());
    }

    /// As [`Self::register_endpoint`], of an endpoint on another host, whose port there belongs to these VLANs; absent: those that
    /// are usual.
    pub fn register_remote(
        &self,
        port: PortId,
        mac: Mac,
        addresses: &[IpAddr],
        vlans: Option<PortVlans>,
    ) {
        self.register(port, mac, addresses, vlans);
    }

    fn register(&self, port: PortId, mac: Mac, addresses: &[IpAddr], vlans: Option<PortVlans>) {
        let usual = |network: VlanConfig| PortVlans::access(network.default);
        let mut endpoints = self.turn();
        let topology = self.ports.load();
        let mut neighbors = topology.neighbors.clone();
        let endpoint = Endpoint {
            mac,
            port,
            addresses: with_link_local(mac, addresses),
            vlans: self
                .config
                .vlans
                .map(|network| vlans.unwrap_or_else(|| usual(network))),
        };
        let old = endpoints.remove(&mac);
        if let Some(old) = &old {
            old.leave(&mut neighbors);
        }
        endpoint.arrive(&mut neighbors);
        self.store(topology.with_neighbors(neighbors));
        endpoint.settle(&self.fdb);
        if let Some(old) = old {
            old.unsettle(&self.fdb, Some(&endpoint));
        }
        endpoints.insert(mac, endpoint);
    }

    /// Undoes [`Self::register_endpoint`]. Does nothing when there is no such endpoint.
    pub fn unregister_endpoint(&self, mac: Mac) {
        let mut endpoints = self.turn();
        if let Some(gone) = endpoints.remove(&mac) {
            let topology = self.ports.load();
            let mut neighbors = topology.neighbors.clone();
            gone.leave(&mut neighbors);
            self.store(topology.with_neighbors(neighbors));
            gone.unsettle(&self.fdb, None);
        }
    }

    /// Decides where a frame that came in on `ingress` goes, and learns its source. Counts nothing: that is the caller's,
    /// who has the port's counters.
    pub fn forward(&self, now: Time, ingress: PortId, frame: &Frame<'_>) -> Verdict {
        self.pass(now, ingress, frame).verdict
    }

    /// The same, and which VLAN the frame belongs to.
    #[inline]
    pub fn pass(&self, now: Time, ingress: PortId, frame: &Frame<'_>) -> Passed {
        self.decide(now, ingress, frame, &Silent)
    }

    /// The form in which a frame leaves by a port; `None` where that does not belong to its VLAN, or is gone.
    pub fn shape(&self, egress: PortId, tag: Tag) -> Option<Shape> {
        self.ports.load().shape(egress, tag)
    }

    fn decide<T: Tracer>(
        &self,
        now: Time,
        ingress: PortId,
        frame: &Frame<'_>,
        tracer: &T,
    ) -> Passed {
        let dropped = |reason| Passed {
            verdict: Verdict::Drop(reason),
            tag: None,
        };
        let topology = self.ports.load();
        let Some(port) = topology.port(ingress) else {
            tracer.note(|| Step::UnknownIngress);
            return dropped(DropReason::UnknownIngress);
        };
        let passage = Passage {
            bridge: self,
            topology: &topology,
            port,
            now,
            frame,
            vlan: None,
            tracer,
        };
        passage.decide().unwrap_or_else(dropped)
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
        let topology = self.ports.load();
        let Some(port) = topology.port(ingress) else {
            return 0;
        };
        let admitted = self.config.vlans.zip(port.vlans.as_ref());
        let admitted = admitted.map(|(network, port)| Tag::admit(network, port, frame));
        let (tag, frame) = match admitted {
            None => (None, *frame),
            Some(Ok((tag, inner))) => (Some(tag), inner),
            Some(Err(_)) => return 0,
        };
        let packet = Packet::parse(&frame);
        let answer = proxy::answer(
            &topology.neighbors,
            (tag.map(Tag::vid), ingress),
            &frame,
            packet.as_ref(),
        );
        let len = answer.map_or(0, |answer| answer.write(out));
        match tag.zip(port.vlans.as_ref()) {
            Some((tag, vlans)) if len > 0 => tag.tag_answer(vlans, out, len),
            _ => len,
        }
    }

    /// The VLAN in which the gateway lives.
    pub(crate) fn home(&self) -> Option<Vid> {
        self.config.vlans.map(|network| network.default)
    }

    /// Whether something looked like a loop since this was last asked, and in which VLAN where the network is aware of them. Costs a
    /// look as long as nothing does.
    #[inline]
    pub fn take_suspicion(&self) -> Option<Option<Vid>> {
        self.suspicion.take()
    }

    /// Reads a frame whose verdict was [`Verdict::Probe`].
    pub fn probe(&self, frame: &Frame<'_>) -> Option<Probe> {
        Probe::read(frame, self.config.probe_secret)
    }

    /// For its loops.
    pub fn loop_finder(&self) -> LoopFinder {
        let low = self.config.probe_secret & u128::from(u64::MAX);
        LoopFinder::new(u64::try_from(low).unwrap_or(0))
    }

    /// A probe of this bridge, to be sent out of its port; `None` where that does not belong to the VLAN, or is gone.
    pub fn write_probe(&self, probe: Probe) -> Option<Vec<u8>> {
        let bare = probe.write(self.config.probe_secret);
        match self.config.vlans.zip(probe.vlan) {
            None => Some(bare.to_vec()),
            Some((network, vid)) => {
                let topology = self.ports.load();
                let port = topology.port(probe.port)?.vlans.as_ref()?;
                Tag::of_own(network, vid, PCP_OF_PROBES).put(port, &bare)
            }
        }
    }

    pub const fn fdb(&self) -> &Fdb {
        &self.fdb
    }

    /// Who has which address now.
    pub fn neighbors(&self) -> Neighbors {
        self.ports.load().neighbors.clone()
    }

    /// Forgets what has not been heard of for too long. Call about once a second.
    pub fn age(&self, now: Time) {
        self.fdb.age(now);
        self.listeners.age(now);
    }

    /// Sets the network's access list, in place of the one before.
    pub fn set_policy(&self, policy: Option<Arc<Policy>>) {
        let _turn = self.turn();
        let topology = self.ports.load();
        let same = Topology::new(
            topology.ports().to_vec(),
            topology.gateway.clone(),
            topology.neighbors.clone(),
        );
        self.ports.store(Arc::new(same.with_policy(policy)));
    }

    /// The network's access list, with its counters.
    pub fn policy(&self) -> Option<Arc<Policy>> {
        self.ports.load().policy.clone()
    }

    /// The access list stays.
    fn store(&self, topology: Topology) {
        let policy = self.ports.load().policy.clone();
        self.ports.store(Arc::new(topology.with_policy(policy)));
    }

    fn turn(&self) -> MutexGuard<'_, HashMap<Mac, Endpoint>> {
        lock(&self.endpoints)
    }
}

/// Network control (IEEE 802.1Q §I.4): a loop may fill the way that the probe takes.
const PCP_OF_PROBES: u8 = 7;

#[cfg(test)]
mod tests;
