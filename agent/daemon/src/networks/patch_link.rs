//! What goes wrong between two networks that are joined.
//!
//! As at the link of an endpoint ([`crate::endpoints`]), seen from the network that is named first: `to` is what it sends to the other. One
//! port of the patch wears it, for both directions.

use agent_api::{ApiError, LinkUpdate, PatchLink};
use agent_core::patch::Patch;
use agent_core::record::PatchRecord;
use switch_io::ImpairmentControl;

use super::{Networks, Place};
use crate::links::{shown, wear, with_seed};
use crate::locks::lock;

impl Networks {
    pub(crate) fn patch_link(&self, one: &str, other: &str) -> Result<PatchLink, ApiError> {
        let ends = [self.find(one)?, self.find(other)?];
        let patch = self.patch_of(&ends)?;
        Ok(self.detail(&ends, &patch))
    }

    /// Changes what goes wrong, or nothing.
    pub(crate) fn update_patch_link(
        &self,
        one: &str,
        other: &str,
        update: &LinkUpdate,
    ) -> Result<PatchLink, ApiError> {
        let ends = [self.find(one)?, self.find(other)?];
        let _turns = self.turns_of_both(&ends[0], &ends[1]);
        let before = self.patch_of(&ends)?;
        let seen_from = &ends[0].record.id;
        let after = before.impairments(seen_from).updated(update);
        let after = with_seed(after.map_err(Patch::from)?);
        let after = before.clone().impaired(seen_from, after);
        let [one, other] = ends.each_ref().map(|end| end.record.name.clone());
        let failed = |why: String| Patch::Host {
            one: one.clone(),
            other: other.clone(),
            why,
        };
        let kept = self.ground.journal.put(&after.key(), &after).wait();
        kept.map_err(|error| failed(error.to_string()))?;
        if let Err(error) = self.impair_patch(&after) {
            if let Err(error) = self.ground.journal.put(&before.key(), &before).wait() {
                tracing::warn!(%error, "a patch's impairments on record are not what it has");
            }
            return Err(failed(error.to_string()).into());
        }
        let detail = self.detail(&ends, &after);
        lock(&self.table).patches.insert(after.key(), after);
        tracing::info!(one, other, "link changed");
        Ok(detail)
    }

    /// Has a patch's first end, if it is there, wear what the record has for it. In the turn of both networks.
    pub(super) fn impair_patch(&self, patch: &PatchRecord) -> std::io::Result<()> {
        let [(id, other), _] = patch.ways();
        let end = self.change(id, |network| {
            let end = network.ways.patches.get(other);
            end.map(|end| (end.port, end.impairment.clone()))
        });
        let Some((port, worn)) = end.flatten() else {
            return Ok(());
        };
        let worn = wear(&self.ground.switch, port, worn, &patch.impairments(id))?;
        self.change(id, |network| {
            if let Some(end) = network.ways.patches.get_mut(other) {
                end.impairment = worn;
            }
        });
        Ok(())
    }

    fn patch_of(&self, ends: &[Place; 2]) -> Result<PatchRecord, Patch> {
        let key = PatchRecord::new(&ends[0].record.id, &ends[1].record.id).key();
        let patch = lock(&self.table).patches.get(&key).cloned();
        patch.ok_or_else(|| Patch::Apart {
            one: ends[0].record.name.clone(),
            other: ends[1].record.name.clone(),
        })
    }

    fn detail(&self, ends: &[Place; 2], patch: &PatchRecord) -> PatchLink {
        let [(id, other), _] = patch.ways();
        let worn = self.change(id, |network| {
            let end = network.ways.patches.get(other);
            end.and_then(|end| end.impairment.clone())
        });
        let counts = worn.flatten().as_ref().map(ImpairmentControl::counts);
        let (mut from, mut to) = counts.unwrap_or_default();
        if ends[0].record.id != id {
            std::mem::swap(&mut from, &mut to);
        }
        PatchLink {
            network: ends[0].record.name.clone(),
            other: ends[1].record.name.clone(),
            settings: patch.impairments(&ends[0].record.id),
            to: shown(to),
            from: shown(from),
        }
    }
}
