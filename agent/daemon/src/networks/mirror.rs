//! Mirrors: what passes one port is written to another one as well.
//!
//! # Theory of operation
//!
//! A mirror is kept between names and made between ports, as soon as both are there, and anew whenever one of them comes again
//! ([`Networks::settle_mirrors`]). The switch ends one whose port goes.

use std::collections::{BTreeMap, BTreeSet};

use agent_api::{ApiError, MirrorCreate, MirrorView};
use agent_core::events::Notice;
use agent_core::mirror::{Mirror, find_mirror, plan_mirror};
use agent_core::record::MirrorRecord;
use switch_core::PortId;
use switch_io::{Layer, LayerKind};

use super::Networks;
use crate::locks::lock;

impl Networks {
    pub(crate) fn mirror(&self, called: &str, request: &MirrorCreate) -> Result<(), ApiError> {
        let network = self.find(called)?.record;
        let _turn = self.turns.take(network.id.clone());
        let ports = self.named_ports_of(&network.id);
        let (record, kept) = {
            let mut table = lock(&self.table);
            let there = table.mirrors_of(&network.id);
            let names = (network.id.as_str(), network.name.as_str());
            let record = plan_mirror(names, &ports, &there, (&request.from, &request.to))?;
            table.mirrors.insert(record.clone());
            let kept = self.ground.journal.put(&record.key(), &record);
            (record, kept)
        };
        let made = kept.wait().map_err(|error| error.to_string());
        if let Err(why) = made.and_then(|()| self.make_mirrors(&network.id)) {
            self.forget_mirror(&record);
            let MirrorRecord { from, to, .. } = record;
            return Err(Mirror::Host { from, to, why }.into());
        }
        let mirrored = Notice::network(&network, "mirror");
        self.tell(mirrored.with("from", &record.from).with("to", &record.to));
        tracing::info!(
            network = network.name,
            from = record.from,
            to = record.to,
            "port mirrored"
        );
        Ok(())
    }

    pub(crate) fn unmirror(&self, called: &str, from: &str) -> Result<(), ApiError> {
        let network = self.find(called)?.record;
        let _turn = self.turns.take(network.id.clone());
        let ports = self.named_ports_of(&network.id);
        let there = lock(&self.table).mirrors_of(&network.id);
        let record = find_mirror(&network.name, &ports, &there, from)?;
        if let Err(error) = self.ground.journal.delete(&record.key()).wait() {
            let MirrorRecord { from, to, .. } = record.clone();
            let why = error.to_string();
            return Err(Mirror::Host { from, to, why }.into());
        }
        self.forget_mirror(record);
        self.tell(Notice::network(&network, "unmirror").with("from", &record.from));
        tracing::info!(
            network = network.name,
            from = record.from,
            "port mirrored no more"
        );
        Ok(())
    }

    /// The mirrors of a network; whether each does anything now.
    pub(crate) fn mirrors(&self, called: &str) -> Result<Vec<MirrorView>, ApiError> {
        let id = self.find(called)?.record.id.clone();
        let ports = self.ports_by_owner(&id);
        let made: BTreeMap<_, _> = self.ground.switch.mirrors().into_iter().collect();
        let mirrors = lock(&self.table).mirrors_of(&id).into_iter();
        let views = mirrors.map(|mirror| {
            let port = |owner: &str| ports.get(owner).copied();
            let (from, to) = (port(&mirror.from), port(&mirror.to));
            MirrorView {
                up: from.is_some_and(|from| made.get(&from).copied() == to && to.is_some()),
                from_port: from.map(|port| port.0),
                to_port: to.map(|port| port.0),
                from: mirror.from,
                to: mirror.to,
            }
        });
        Ok(views.collect())
    }

    /// Makes the mirrors of a network whose ports have come, as far as they are there.
    pub(crate) fn settle_mirrors(&self, id: &str) {
        if let Err(why) = self.make_mirrors(id) {
            tracing::warn!(network = id, why, "a port is not mirrored");
        }
    }

    /// What was mirrored before the agent's start; what is of a network that is gone is forgotten.
    pub(crate) fn restore_mirrors(&self, mirrors: Vec<MirrorRecord>) {
        let mut networks = BTreeSet::new();
        for mirror in mirrors {
            if self.place(&mirror.network).is_none() {
                self.forget_mirror(&mirror);
                continue;
            }
            networks.insert(mirror.network.clone());
            lock(&self.table).mirrors.insert(mirror);
        }
        for id in networks {
            self.settle_mirrors(&id);
        }
    }

    /// The network is about to go.
    pub(super) fn forget_mirrors(&self, id: &str) {
        let mirrors = lock(&self.table).mirrors_of(id);
        for mirror in mirrors {
            self.forget_mirror(&mirror);
        }
    }

    fn make_mirrors(&self, id: &str) -> Result<(), String> {
        let mirrors = lock(&self.table).mirrors_of(id);
        if mirrors.is_empty() {
            return Ok(());
        }
        let ports = self.ports_by_owner(id);
        let made = self.ground.switch.mirrors();
        let mut failed = Ok(());
        for mirror in mirrors {
            let ends = (ports.get(&mirror.from), ports.get(&mirror.to));
            if let (Some(from), Some(to)) = ends
                && !made.contains(&(*from, *to))
                && let Err(error) = self.ground.switch.dress(*from, Layer::Mirror(*to))
            {
                failed = Err(error.to_string());
            }
        }
        failed
    }

    /// Without its record a mirror is not made at the next start; one that stays is made then.
    fn forget_mirror(&self, mirror: &MirrorRecord) {
        lock(&self.table).mirrors.remove(mirror);
        if let Some(from) = self.ports_by_owner(&mirror.network).get(&mirror.from) {
            self.ground.switch.undress(*from, LayerKind::Mirror);
        }
        if let Err(error) = self.ground.journal.forget(&mirror.key()).wait() {
            tracing::warn!(%error, "a mirror stays on record");
        }
    }

    fn ports_by_owner(&self, id: &str) -> BTreeMap<String, PortId> {
        let ports = self.named_ports_of(id).into_iter();
        ports.map(|port| (port.owner, port.port)).collect()
    }
}

impl super::Table {
    fn mirrors_of(&self, id: &str) -> BTreeSet<MirrorRecord> {
        let mirrors = self.mirrors.iter();
        let own = mirrors.filter(|mirror| mirror.network == id);
        own.cloned().collect()
    }
}
