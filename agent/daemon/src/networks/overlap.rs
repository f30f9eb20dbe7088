//! What comes to overlap a network of the cluster after it was adopted: it is told, and the network stays, with its containers.
//!
//! # Theory of operation
//!
//! A more specific route takes what this host sends to some of the network's containers elsewhere, and answers to it. Frames
//! between containers are not touched. The kernel says when routes change, and whoever watches that
//! (`crate::follow::kept_out`) has all networks of the cluster looked at.

use std::sync::Arc;

use agent_api::NetworkTrouble;
use agent_core::ipam::SubnetInUse;
use agent_core::record::NetworkRecord;
use agent_core::shared::adoption::check_overlap;

use super::Networks;
use crate::locks::lock;

impl Networks {
    /// Whether routes that come could overlap a network of the cluster.
    pub(crate) fn can_be_overlapped(&self) -> bool {
        let table = lock(&self.table);
        table.present().any(|network| is_exposed(&network.record))
    }

    /// Looks what overlaps the networks of the cluster now, this host reaching `obstacles` another way.
    pub(crate) fn mind_overlaps(&self, obstacles: &[SubnetInUse]) {
        let records: Vec<Arc<NetworkRecord>> = {
            let table = lock(&self.table);
            let networks = table.networks.values();
            networks
                .map(|network| Arc::clone(&network.record))
                .collect()
        };
        let named = records.iter().filter(|record| !record.is_cut_off());
        for record in records.iter().filter(|record| is_exposed(record)) {
            let others = named.clone().map(AsRef::as_ref);
            let checked = check_overlap(record, others, obstacles);
            let why = checked.err().map(|why| why.to_string());
            let before = self.change(&record.id, |network| {
                std::mem::replace(&mut network.overlaps, why.clone())
            });
            match (why, before.flatten()) {
                (Some(why), before) if before.as_ref() != Some(&why) => tracing::warn!(
                    network = record.name,
                    why,
                    "something on this host overlaps a network of the cluster"
                ),
                (None, Some(_)) => tracing::info!(
                    network = record.name,
                    "nothing on this host overlaps the network of the cluster any more"
                ),
                _ => {}
            }
        }
    }

    /// The networks of the cluster that something on this host overlaps.
    pub(crate) fn overlapped(&self) -> Vec<NetworkTrouble> {
        let table = lock(&self.table);
        let overlapped = table.present().filter_map(|network| {
            Some(NetworkTrouble {
                network: network.record.name.clone(),
                why: network.overlaps.clone()?,
            })
        });
        overlapped.collect()
    }
}

fn is_exposed(record: &NetworkRecord) -> bool {
    record.shared().is_some() && !record.internal && !record.subnets.is_empty()
}
