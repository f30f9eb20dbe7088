//! The bridge of one network.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::fdb::{Fdb, FdbConfig, FdbKind};
use crate::flood::FloodLists;
use crate::neighbors::{Neighbor, Neighbors};
use crate::{DropReason, Frame, Mac, PortConfig, PortId, Time, Verdict};

/// What a network asks of its bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeConfig {
    pub fdb: FdbConfig,
    /// Forward the link-constrained group addresses `01:80:C2:00:00:0x`, for labs that run STP, LACP or LLDP.
    pub transparent: bool,
}

/// One network on this host.
#[derive(Debug)]
pub struct Bridge {
    config: BridgeConfig,
    fdb: Fdb,
    neighbors: Neighbors,
    ports: ArcSwap<Ports>,
    writer: Mutex<()>,
}

/// Where a flooded frame goes; see [`Bridge::flood_list`].
pub struct FloodList {
    ports: Guard<Arc<Ports>>,
    ingress: PortId,
}

impl Deref for FloodList {
    type Target = [PortId];

    fn deref(&self) -> &[PortId] {
        match self.ports.config(self.ingress) {
            Some(config) => self.ports.flood.list(config.group),
            None => &[],
        }
    }
}

#[derive(Debug, Default)]
struct Ports {
    list: Vec<(PortId, PortConfig)>,
    flood: FloodLists,
}

impl Ports {
    fn config(&self, id: PortId) -> Option<&PortConfig> {
        self.list
            .iter()
            .find(|port| port.0 == id)
            .map(|port| &port.1)
    }
}

impl Bridge {
    pub fn new(config: BridgeConfig) -> Self {
        Self {
            config,
            fdb: Fdb::new(config.fdb),
            neighbors: Neighbors::new(config.fdb.hash_seed),
            ports: ArcSwap::default(),
            writer: Mutex::new(()),
        }
    }

    /// Attaches a port, or changes the configuration of one that is attached.
    pub fn add_port(&self, id: PortId, config: PortConfig) {
        self.change(|list| {
            list.retain(|port| port.0 != id);
            list.push((id, config));
        });
    }

    /// Detaches a port and forgets what lives behind it: FDB entries of any kind, and neighbors. Does nothing when the
    /// port is not attached.
    pub fn remove_port(&self, id: PortId) {
        self.change(|list| list.retain(|port| port.0 != id));
        self.fdb.flush_port(id);
    }

    pub fn port_config(&self, id: PortId) -> Option<PortConfig> {
        self.ports.load().config(id).copied()
    }

    /// Sets the gateway's MAC and addresses, in place of the previous ones.
    pub fn set_gateway(&self, mac: Mac, addresses: &[IpAddr]) {
        for address in addresses {
            self.neighbors
                .insert(*address, Neighbor { mac, port: None });
        }
    }

    /// Gives an endpoint's MAC to its port for good, and answers for its addresses. Repeating it changes them.
    pub fn register_endpoint(&self, port: PortId, mac: Mac, addresses: &[IpAddr]) {
        self.fdb.insert(mac, port, FdbKind::Sticky);
        for address in addresses {
            self.neighbors.insert(
                *address,
                Neighbor {
                    mac,
                    port: Some(port),
                },
            );
        }
    }

    /// Undoes [`Self::register_endpoint`]. Does nothing when there is no such endpoint.
    pub fn unregister_endpoint(&self, mac: Mac) {
        self.fdb.remove(mac);
    }

    /// Decides where a frame that came in on `ingress` goes, and learns its source. Counts nothing: that is the caller's,
    /// who knows the port's counters.
    pub fn forward(&self, now: Time, ingress: PortId, frame: &Frame<'_>) -> Verdict {
        let ports = self.ports.load();
        let Some(config) = ports.config(ingress) else {
            return Verdict::Drop(DropReason::UnknownIngress);
        };
        if !frame.fits(config.mtu) {
            return Verdict::Drop(DropReason::Oversize);
        }
        if frame.dst().is_link_local_control() && !self.config.transparent {
            return Verdict::Drop(DropReason::LinkLocalControl);
        }
        self.fdb.learn(now, frame.src(), ingress, usize::MAX);
        match self.fdb.lookup(frame.dst()) {
            Some(port) if port == ingress => Verdict::Drop(DropReason::Hairpin),
            Some(port) => Verdict::Unicast(port),
            None => Verdict::Flood,
        }
    }

    /// The ports a flooded frame from `ingress` goes to; skip `ingress` itself, which may be among them. Hold it for the
    /// batch, not longer.
    pub fn flood_list(&self, ingress: PortId) -> FloodList {
        FloodList {
            ports: self.ports.load(),
            ingress,
        }
    }

    /// Writes the answer to a frame whose verdict was [`Verdict::Reply`] and returns its length. Zero: `out` is shorter
    /// than [`Self::REPLY_LEN_MAX`], or what was asked for has gone meanwhile; send nothing.
    pub fn reply(&self, ingress: PortId, frame: &Frame<'_>, out: &mut [u8]) -> usize {
        let _ = (ingress, frame, out);
        0
    }

    /// Longest answer of [`Self::reply`], in bytes.
    pub const REPLY_LEN_MAX: usize = 86;

    pub const fn fdb(&self) -> &Fdb {
        &self.fdb
    }

    pub const fn neighbors(&self) -> &Neighbors {
        &self.neighbors
    }

    /// Forgets what has not been heard of for too long. Call about once a second.
    pub fn age(&self, now: Time) {
        self.fdb.age(now);
    }

    fn change(&self, edit: impl FnOnce(&mut Vec<(PortId, PortConfig)>)) {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = self.ports.load().list.clone();
        edit(&mut list);
        let groups: Vec<_> = list
            .iter()
            .map(|(id, config)| (*id, config.group))
            .collect();
        self.ports.store(Arc::new(Ports {
            flood: FloodLists::new(&groups),
            list,
        }));
    }
}
