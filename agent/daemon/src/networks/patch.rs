//! Patches: two networks of this host made one segment, as with the patch ports of Open vSwitch.
//!
//! # Theory of operation
//!
//! A patch is a port on each of two bridges; what one bridge sends to its port, the other one receives at its own. It adds no
//! rule to a frame's way: each bridge learns, floods and guards as it does anyway. Guarded it is on both sides, since a
//! network's guard knows only the addresses of its own network. So each network keeps its gateway, its names, and its DHCP
//! server; the options of the network that a frame comes to say what may come.
//!
//! A patch is reserved in the table before its ports are made, so that two at once make no loop.

use std::collections::BTreeSet;

use agent_api::{ApiError, LinkSettings};
use agent_core::events::Notice;
use agent_core::patch::{Patch, check_patch};
use agent_core::record::PatchRecord;
use switch_core::{PortConfig, PortKind};
use switch_io::{AddPort, PatchPort, patch};

use super::{Networks, PatchEnd, Place};
use crate::links::with_seed;
use crate::locks::lock;
use crate::turns::Turn;

/// Why networks are apart that should be joined.
#[derive(Debug, thiserror::Error)]
enum RaisePatch {
    #[error("one of them is gone")]
    Gone,
    #[error("network {0:?} is down")]
    Down(String),
    #[error("no queue between them: {0}")]
    Queue(std::io::Error),
    #[error("no port: {0}")]
    Port(#[from] AddPort),
    #[error("no impairment: {0}")]
    Impair(#[from] std::io::Error),
}

impl Networks {
    /// The names of the networks that are patched to the one with this id.
    pub(crate) fn patched_to(&self, id: &str) -> Vec<String> {
        let table = lock(&self.table);
        let others = table.patches.values().filter_map(|patch| patch.other(id));
        let networks = others.filter_map(|other| table.networks.get(other));
        networks
            .map(|network| network.record.name.clone())
            .collect()
    }

    /// Joins two networks; what goes wrong between them is as the first one sees it.
    pub(crate) fn patch(
        &self,
        one: &str,
        other: &str,
        impairments: LinkSettings,
    ) -> Result<(), ApiError> {
        let [one, other] = [self.find(one)?, self.find(other)?];
        impairments.check().map_err(Patch::from)?;
        let _turns = self.turns_of_both(&one, &other);
        let impairments = with_seed(impairments);
        let record = PatchRecord::new(&one.record.id, &other.record.id)
            .impaired(&one.record.id, impairments);
        let kept = {
            let mut table = lock(&self.table);
            let known = |id: &str| table.networks.get(id).map(|network| &*network.record);
            check_patch(&table.patches, known, &one.record, &other.record)?;
            if let Some(down) = [&one, &other].iter().find(|end| end.segment.is_none()) {
                return Err(Patch::Down(down.record.name.clone()).into());
            }
            table.patches.insert(record.key(), record.clone());
            self.ground.journal.put(&record.key(), &record)
        };
        let failed = |why: String| Patch::Host {
            one: one.record.name.clone(),
            other: other.record.name.clone(),
            why,
        };
        let kept = kept.wait().map_err(|error| failed(error.to_string()));
        let raised = kept.and_then(|()| {
            self.raise_patch(&record)
                .map_err(|error| failed(error.to_string()))
        });
        if let Err(error) = raised {
            self.forget_patch(&record);
            return Err(error.into());
        }
        self.tell(Notice::network(&one.record, "patch").with("other", &other.record.name));
        tracing::info!(
            one = one.record.name,
            other = other.record.name,
            "networks patched"
        );
        Ok(())
    }

    pub(crate) fn unpatch(&self, one: &str, other: &str) -> Result<(), ApiError> {
        let ends = [self.find(one)?, self.find(other)?];
        let _turns = self.turns_of_both(&ends[0], &ends[1]);
        let [one, other] = ends.each_ref().map(|end| end.record.name.clone());
        let patch = PatchRecord::new(&ends[0].record.id, &ends[1].record.id);
        if !lock(&self.table).patches.contains_key(&patch.key()) {
            return Err(Patch::Apart { one, other }.into());
        }
        if let Err(error) = self.ground.journal.delete(&patch.key()).wait() {
            let why = error.to_string();
            return Err(Patch::Host { one, other, why }.into());
        }
        self.lower_patch(&patch);
        lock(&self.table).patches.remove(&patch.key());
        self.tell(Notice::network(&ends[0].record, "unpatch").with("other", &other));
        tracing::info!(one, other, "networks parted");
        Ok(())
    }

    /// Joins again what was joined before the agent's start.
    pub(crate) fn restore_patch(&self, patch: PatchRecord) {
        lock(&self.table).patches.insert(patch.key(), patch.clone());
        if let Err(why) = self.raise_patch(&patch) {
            let names = patch.ways().map(|(id, _)| {
                let place = self.place(id);
                place.map(|place| place.record.name.clone())
            });
            let [one, other] = names.map(Option::unwrap_or_default);
            self.ground
                .warn(format!("networks {one:?} and {other:?} are apart: {why}"));
        }
    }

    /// Without its record a patch is not looked for at the next start; one that stays is without effect until then.
    pub(crate) fn forget_patch(&self, patch: &PatchRecord) {
        lock(&self.table).patches.remove(&patch.key());
        if let Err(error) = self.ground.journal.forget(&patch.key()).wait() {
            tracing::warn!(%error, "a patch stays on record");
        }
    }

    /// The lesser id's first, as everybody takes them.
    pub(super) fn turns_of_both(&self, one: &Place, other: &Place) -> Vec<Turn<'_, String>> {
        let ids = BTreeSet::from([one.record.id.clone(), other.record.id.clone()]);
        ids.into_iter().map(|id| self.turns.take(id)).collect()
    }

    /// Makes both ports, or none.
    fn raise_patch(&self, patch: &PatchRecord) -> Result<(), RaisePatch> {
        let raised = self.raise_ends(patch);
        if raised.is_err() {
            self.lower_patch(patch);
        }
        raised
    }

    fn raise_ends(&self, record: &PatchRecord) -> Result<(), RaisePatch> {
        let ways = record.ways();
        let [Some(one), Some(other)] = ways.map(|(id, _)| self.place(id)) else {
            return Err(RaisePatch::Gone);
        };
        // What is too long for the other network is dropped here, where its sender is known.
        let mtu = u32::from(one.record.mtu.min(other.record.mtu));
        let ports = patch(QUEUE_FRAMES).map_err(RaisePatch::Queue)?;
        let ends = [
            (&one, &other, ports.0, ways[0].1),
            (&other, &one, ports.1, ways[1].1),
        ];
        for (network, beyond, port, other_id) in ends {
            let end = self.raise_end(network, port, mtu, beyond.record.name.clone())?;
            self.change(&network.record.id, |network| {
                network.ways.patches.insert(other_id.to_owned(), end)
            });
        }
        Ok(self.impair_patch(record)?)
    }

    fn raise_end(
        &self,
        network: &Place,
        port: PatchPort,
        mtu: u32,
        leads_to: String,
    ) -> Result<PatchEnd, RaisePatch> {
        let record = &network.record;
        let segment = network.segment.as_ref();
        let segment = segment.ok_or_else(|| RaisePatch::Down(record.name.clone()))?;
        let config = PortConfig {
            mtu,
            ..record.port_config(PortKind::Patch)
        };
        let switch = &self.ground.switch;
        let port = switch.add_port(&segment.bridge, Box::new(port), config)?;
        Ok(PatchEnd {
            port,
            leads_to,
            impairment: None,
        })
    }

    pub(super) fn lower_patch(&self, patch: &PatchRecord) {
        for (id, other) in patch.ways() {
            let end = self.change(id, |network| network.ways.patches.remove(other));
            if let Some(end) = end.flatten() {
                let counts = self.ground.switch.remove_port(end.port).counters();
                self.add_gone(id, &counts);
            }
        }
    }
}

/// In each direction. Superframes may be as long as 64 KiB, so this is at most 32 MiB.
const QUEUE_FRAMES: usize = 512;
