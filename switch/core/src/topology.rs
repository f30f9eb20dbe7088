//! What is attached to one bridge, as a snapshot.
//!
//! # Theory of operation
//!
//! Forwarding reads a [`Topology`] that never changes; attaching or detaching a port makes the next one and swaps it in.
//! Making it copies one pointer and a few bytes per port, so the thousandth port costs microseconds. Ports are found by
//! open addressing on the number itself: numbers are handed out in sequence, so nearly every probe hits at once.

use std::sync::Arc;

use crate::bridge_port::BridgePort;
use crate::flood::FloodLists;
use crate::gateway::Gateway;
use crate::neighbors::Neighbors;
use crate::policy::Policy;
use crate::vlan::{Shape, Tag, Vid};
use crate::{Mac, PortId, PortKind};

/// Everything forwarding needs to know that is not learned.
#[derive(Debug)]
pub(crate) struct Topology {
    ports: Vec<Arc<BridgePort>>,
    /// Indices into `ports`, plus one; zero is a free slot. A power of two, at most half full.
    slots: Vec<u32>,
    pub(crate) flood: FloodLists,
    pub(crate) gateway: Option<Arc<Gateway>>,
    pub(crate) neighbors: Neighbors,
    pub(crate) host: Option<PortId>,
    pub(crate) edge: Option<PortId>,
    /// Where what isolated ports have for each other leaves.
    pub(crate) reflector: Option<PortId>,
    /// Whether a sandbox, another host or a LAN may serve DHCP, so that requests must reach it.
    pub(crate) has_dhcp_server: bool,
    /// Whether a flooded frame may have to stay off some port of its list.
    pub(crate) is_selective: bool,
    /// The access list, where there is one.
    pub(crate) policy: Option<Arc<Policy>>,
}

impl Topology {
    pub(crate) fn new(
        ports: Vec<Arc<BridgePort>>,
        gateway: Option<Arc<Gateway>>,
        neighbors: Neighbors,
    ) -> Self {
        let first = |kind: PortKind| {
            ports
                .iter()
                .find(|port| port.config.kind == kind)
                .map(|port| port.id)
        };
        Self {
            slots: index(&ports),
            flood: FloodLists::new(&ports),
            gateway,
            neighbors,
            host: first(PortKind::Host),
            edge: first(PortKind::Edge),
            reflector: ports
                .iter()
                .find(|port| port.config.reflects)
                .map(|port| port.id),
            has_dhcp_server: ports.iter().any(|port| {
                let config = &port.config;
                let may_serve = config.kind.is_guarded() || config.kind == PortKind::Uplink;
                may_serve && config.allow_dhcp_server
            }),
            is_selective: ports.iter().any(|port| !port.config.guards.gets_all()),
            policy: None,
            ports,
        }
    }

    /// The same, with this access list.
    pub(crate) fn with_policy(self, policy: Option<Arc<Policy>>) -> Self {
        Self {
            is_selective: self.is_selective || policy.is_some(),
            policy,
            ..self
        }
    }

    /// The same ports, with other addresses.
    pub(crate) fn with_neighbors(&self, neighbors: Neighbors) -> Self {
        Self::new(self.ports.clone(), self.gateway.clone(), neighbors)
    }

    /// The same, with budgets and owners that change apart from these.
    pub(crate) fn copy(&self) -> Self {
        let ports = self.ports.iter();
        let ports = ports.map(|port| Arc::new(BridgePort::clone(port)));
        let policy = self.policy.as_ref();
        let policy = policy.map(|policy| Arc::new(policy.copy()));
        Self::new(ports.collect(), self.gateway.clone(), self.neighbors.copy()).with_policy(policy)
    }

    pub(crate) fn port(&self, id: PortId) -> Option<&BridgePort> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut slot = place(id) & mask;
        // Half of the slots are free, so a probe ends.
        while let Some(index) = self.slots.get(slot)?.checked_sub(1) {
            let port = self.ports.get(usize::try_from(index).ok()?)?;
            if port.id == id {
                return Some(port);
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    /// How many copies of a frame in that VLAN a port brings about.
    pub(crate) fn copies_in(&self, vid: Vid, ingress: &BridgePort) -> u32 {
        let list = self.flood.list(ingress.config.group).iter();
        let others = list.filter(|egress| **egress != ingress.id);
        let belongs = |egress: &&PortId| {
            let vlans = self.port(**egress).and_then(|port| port.vlans.as_ref());
            vlans.is_some_and(|vlans| vlans.shape(vid).is_some())
        };
        u32::try_from(others.filter(belongs).count()).unwrap_or(u32::MAX)
    }

    /// The form in which a frame leaves by a port, if that belongs to its VLAN.
    #[inline]
    pub(crate) fn shape(&self, egress: PortId, tag: Tag) -> Option<Shape> {
        let vlans = self.port(egress)?.vlans.as_ref()?;
        tag.shape_at(vlans)
    }

    pub(crate) fn is_gateway(&self, mac: Mac) -> bool {
        self.gateway
            .as_ref()
            .is_some_and(|gateway| gateway.mac == mac)
    }

    pub(crate) fn ports(&self) -> &[Arc<BridgePort>] {
        &self.ports
    }
}

fn index(ports: &[Arc<BridgePort>]) -> Vec<u32> {
    let mut slots = vec![0; (ports.len() * 2).next_power_of_two()];
    let mask = slots.len() - 1;
    for (number, port) in (1_u32..).zip(ports) {
        let mut slot = place(port.id) & mask;
        while slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        slots[slot] = number;
    }
    slots
}

fn place(id: PortId) -> usize {
    usize::try_from(id.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortConfig;

    fn topology(ids: &[u32]) -> Topology {
        let config = PortConfig::new(PortKind::Tap, 1500);
        let ports = ids
            .iter()
            .map(|id| Arc::new(BridgePort::new(PortId(*id), config.clone())))
            .collect();
        Topology::new(ports, None, Neighbors::new())
    }

    #[test]
    fn every_port_is_found_and_no_other() {
        for ids in [&[][..], &[7], &[1, 2, 3, 4, 5], &[0, 16, 32, 64, u32::MAX]] {
            let topology = topology(ids);
            for id in ids {
                assert_eq!(
                    topology.port(PortId(*id)).map(|port| port.id),
                    Some(PortId(*id))
                );
            }
            assert!(topology.port(PortId(99)).is_none());
        }
    }
}
