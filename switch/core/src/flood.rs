//! Egress lists for flooded frames.
//!
//! # Theory of operation
//!
//! Which ports a flooded frame goes to depends only on the ingress port's split-horizon group, so there is one list per
//! group that has members, built when a port comes or goes and never per frame (Snabb's `apps/bridge` does the same).
//! A list names every port that its group is not separated from and that is not blocked. Ports without a group are in each list; the ingress port
//! may be in its own and is skipped while iterating, which keeps one list for all members instead of one each.

use std::sync::Arc;

use crate::bridge_port::BridgePort;
use crate::{PortId, SplitHorizonGroup};

/// The lists of one bridge.
#[derive(Debug, Default)]
pub(crate) struct FloodLists {
    lists: [Vec<PortId>; SplitHorizonGroup::COUNT],
}

impl FloodLists {
    /// Builds the list of every group that occurs.
    pub(crate) fn new(ports: &[Arc<BridgePort>]) -> Self {
        let mut lists = Self::default();
        let mut occurs = [false; SplitHorizonGroup::COUNT];
        for port in ports {
            occurs[port.config.group.index()] = true;
        }
        for (group, list) in SplitHorizonGroup::all().zip(&mut lists.lists) {
            if occurs[group.index()] {
                list.reserve_exact(ports.len());
                let egress = ports
                    .iter()
                    .filter(|port| !group.separates(port.config.group) && port.block.is_none());
                list.extend(egress.map(|port| port.id));
            }
        }
        lists
    }

    /// How many copies of a frame a port of this group, which is not blocked, brings about.
    pub(crate) fn copies(&self, ingress: SplitHorizonGroup) -> u32 {
        let itself = usize::from(!ingress.separates(ingress));
        let copies = self.list(ingress).len().saturating_sub(itself);
        u32::try_from(copies).unwrap_or(u32::MAX)
    }

    pub(crate) fn list(&self, ingress: SplitHorizonGroup) -> &[PortId] {
        &self.lists[ingress.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PortConfig, PortKind};

    fn lists(ports: &[(u32, SplitHorizonGroup)]) -> FloodLists {
        let ports: Vec<_> = ports
            .iter()
            .map(|(id, group)| {
                let mut config = PortConfig::new(PortKind::Tap, 1500);
                config.group = *group;
                Arc::new(BridgePort::new(PortId(*id), config))
            })
            .collect();
        FloodLists::new(&ports)
    }

    #[test]
    fn flood_skips_ports_in_ingress_group() {
        let lists = lists(&[
            (1, SplitHorizonGroup::NONE),
            (2, SplitHorizonGroup::TUNNEL),
            (3, SplitHorizonGroup::TUNNEL),
            (4, SplitHorizonGroup::ISOLATED),
        ]);
        let ids = |group| lists.list(group).iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(ids(SplitHorizonGroup::NONE), [1, 2, 3, 4]);
        assert_eq!(ids(SplitHorizonGroup::TUNNEL), [1, 4]);
        assert_eq!(ids(SplitHorizonGroup::ISOLATED), [1, 2, 3]);
        let copies = |group| lists.copies(group);
        assert_eq!(copies(SplitHorizonGroup::NONE), 3);
        assert_eq!(copies(SplitHorizonGroup::TUNNEL), 2);
        assert_eq!(copies(SplitHorizonGroup::ISOLATED), 3);
    }

    #[test]
    fn a_blocked_port_is_in_no_list() {
        let config = PortConfig::new(PortKind::Tap, 1500);
        let ports = [1, 2].map(|id| BridgePort::new(PortId(id), config.clone()));
        let blocked = ports[1].with_block(Some(crate::Block::Loop(None)));
        let [open, _] = ports;
        let lists = FloodLists::new(&[Arc::new(open), Arc::new(blocked)]);
        assert_eq!(lists.list(SplitHorizonGroup::NONE), [PortId(1)]);
    }

    #[test]
    fn a_group_without_members_has_no_list() {
        assert!(
            lists(&[(1, SplitHorizonGroup::NONE)])
                .list(SplitHorizonGroup::TUNNEL)
                .is_empty()
        );
    }
}
