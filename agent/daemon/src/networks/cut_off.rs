//! Networks that the cluster removed while containers of this host were on them.
//!
//! # Theory of operation
//!
//! A host that was cut off from the cluster may come back and find that one of its networks was removed meanwhile. Its containers run
//! on, but what they send must reach nobody: their addresses, and later the VNI, may be another network's by now. So their links go
//! down, tunnels, host port and published ports go, and the network takes nobody any more. What is left of it is
//! [cut off](agent_core::record::NetworkRecord::is_cut_off); its name and subnets are free for others, and it goes with the last of its endpoints.

use std::sync::Arc;

use agent_core::events::Notice;
use agent_core::record::network_key;

use super::{Networks, Place, Ways};
use crate::locks::lock;
use crate::sharing::directory::id_shared;

impl Networks {
    /// A network that the cluster has no more goes from here too. `false`: somebody here is on it.
    pub(crate) fn abandon(&self, id: &str) -> bool {
        let _turn = self.turns.take(id.to_owned());
        let Some(place) = self.place(id) else {
            return true;
        };
        if self.close(&place).is_err() {
            return false;
        }
        if let Err(error) = self.end(&place) {
            self.ground.warn(error.to_string());
        }
        true
    }

    /// Takes every way out of a network whose endpoints are plugged out already.
    pub(crate) fn cut_off(&self, place: &Place) {
        let record = &place.record;
        let _turn = self.turns.take(record.id.clone());
        let left = Arc::new(record.cut_off());
        let patches: Vec<_> = {
            let table = lock(&self.table);
            let patches = table.patches.values();
            let own = patches.filter(|patch| patch.other(&record.id).is_some());
            own.cloned().collect()
        };
        for patch in patches {
            self.lower_patch(&patch);
            self.forget_patch(&patch);
        }
        let taken = self.change(&record.id, |network| {
            network.record = Arc::clone(&left);
            network.closed = None;
            network.overlaps = None;
            std::mem::take(&mut network.ways)
        });
        if let Some(network) = id_shared(record) {
            self.sharing.forget_network(network);
        }
        if let Some(ways) = taken {
            self.lower_ways(place, &ways);
        }
        if self.filter.drop_network(&record.id)
            && let Err(why) = self.filter.settle()
        {
            self.ground.warn(why.to_string());
        }
        let kept = self.ground.journal.put(&network_key(&record.id), &*left);
        if let Err(error) = kept.wait() {
            self.ground.warn(format!(
                "network {:?} would be whole again after a restart: {error}",
                record.name
            ));
        }
        self.tell(Notice::network(record, "cut-off"));
        tracing::warn!(
            network = record.name,
            id = record.id,
            "the cluster removed a network while this host was away: its containers are cut off"
        );
        self.keep_names(&record.id);
    }

    fn lower_ways(&self, place: &Place, ways: &Ways) {
        let id = &place.record.id;
        for tunnel in ways.tunnels.values() {
            let counts = self.sharing.tunnels.close(&tunnel.port);
            self.add_gone(id, &counts);
        }
        if let Some(host) = &ways.host {
            let counts = self.drop_host_port(id, host).counters();
            self.add_gone(id, &counts);
        }
        if let Some(segment) = &place.segment {
            for mac in ways.remotes.keys() {
                segment.bridge.unregister_endpoint(*mac);
            }
        }
    }

    /// Takes away what is left of a network when nobody is on it any more.
    pub(crate) fn drop_if_left(&self, id: &str) {
        let is_left = {
            let table = lock(&self.table);
            let network = table.networks.get(id);
            network.is_some_and(|network| network.record.is_cut_off() && network.seats.are_free())
        };
        if is_left {
            self.abandon(id);
        }
    }
}
