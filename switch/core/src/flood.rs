//! Egress lists for flooded frames.
//!
//! # Theory of operation
//!
//! Which ports a flooded frame goes to depends only on the ingress port's split-horizon group, so there is one list per
//! group that has members, built when a port comes or goes and never per frame (Snabb's `apps/bridge` does the same).
//! A list names every port that its group is not separated from. Ports without a group are in each list; the ingress port
//! may be in its own and is skipped while iterating, which keeps one list for all members instead of one each.

use std::sync::Arc;

use crate::{PortId, SplitHorizonGroup};

/// The lists of one bridge.
#[derive(Clone, Debug, Default)]
pub(crate) struct FloodLists {
    lists: [Option<Arc<[PortId]>>; SplitHorizonGroup::COUNT],
}

impl FloodLists {
    /// Builds the list of every group that occurs.
    pub(crate) fn new(ports: &[(PortId, SplitHorizonGroup)]) -> Self {
        let mut lists = Self::default();
        for (_, group) in ports {
            lists.lists[group.index()].get_or_insert_with(|| {
                ports
                    .iter()
                    .filter(|(_, egress)| !group.separates(*egress))
                    .map(|(id, _)| *id)
                    .collect()
            });
        }
        lists
    }

    pub(crate) fn list(&self, ingress: SplitHorizonGroup) -> &[PortId] {
        self.lists[ingress.index()].as_deref().unwrap_or(&[])
    }
}
