//! Networks of the cluster on this host: adopted as they are, or kept out with the reason.
//!
//! # Theory of operation
//!
//! A network that is kept out is nowhere on this host but in a list, for those who ask. It is looked at again whenever the cluster
//! says something of networks, a network of this host goes or gets another name, or the kernel tells of another route or address.

use std::sync::Arc;

use agent_api::NetworkTrouble;
use agent_cluster::Member;
use agent_core::find::Find;
use agent_core::ipam::SubnetInUse;
use agent_core::network::CreateNetwork;
use agent_core::record::{NetworkRecord, network_key};
use agent_core::resolv_conf::ResolvConf;
use agent_core::shared::adoption::{KeepOut, check_adoption, obstacles};

use super::{Networks, Place, Table};
use crate::locks::lock;

/// A network of the cluster that is not on this host.
pub(super) struct KeptOut {
    pub(super) record: NetworkRecord,
    pub(super) why: String,
}

impl Networks {
    /// Takes a network of the cluster in, where nothing is in its way. Whether it came just now.
    pub(crate) fn adopt(&self, record: NetworkRecord, obstacles: &[SubnetInUse]) -> bool {
        match self.take_in(&record, obstacles) {
            Ok(is_new) => {
                lock(&self.table).kept_out.remove(&record.id);
                is_new
            }
            Err(why) => {
                self.keep_out(record, why.to_string());
                false
            }
        }
    }

    fn take_in(&self, record: &NetworkRecord, obstacles: &[SubnetInUse]) -> Result<bool, KeepOut> {
        if let Some(here) = self.record_of(&record.id) {
            return match here.is_cut_off() {
                true => Err(KeepOut::Remains),
                false => Ok(false),
            };
        }
        let failed = |error: CreateNetwork| KeepOut::Host(error.to_string());
        let reserved = {
            let mut table = lock(&self.table);
            if table.is_left {
                return Err(KeepOut::Host("the agent ends".to_owned()));
            }
            check_adoption(record, table.named(), obstacles)?;
            table.insert(record.clone()).map_err(failed)?
        };
        self.make(&reserved).map_err(failed)?;
        Ok(true)
    }

    fn keep_out(&self, record: NetworkRecord, why: String) {
        let mut table = lock(&self.table);
        let known = table.kept_out.get(&record.id);
        if known.is_none_or(|known| known.why != why) {
            tracing::warn!(
                network = record.name,
                why,
                "a network of the cluster is not on this host"
            );
        }
        let id = record.id.clone();
        table.kept_out.insert(id, KeptOut { record, why });
    }

    /// The cluster has it no more.
    pub(crate) fn forget_kept_out(&self, id: &str) {
        lock(&self.table).kept_out.remove(id);
    }

    pub(crate) fn forget_all_kept_out(&self) {
        lock(&self.table).kept_out.clear();
    }

    /// Whether some network is to be looked at again.
    pub(crate) fn keeps_out(&self) -> bool {
        !lock(&self.table).kept_out.is_empty()
    }

    /// The networks of the cluster that are not here, and why.
    pub(crate) fn kept_out(&self) -> Vec<NetworkTrouble> {
        let table = lock(&self.table);
        let kept_out = table.kept_out.values().map(|kept_out| NetworkTrouble {
            network: kept_out.record.name.clone(),
            why: kept_out.why.clone(),
        });
        kept_out.collect()
    }

    /// What this host reaches another way than by its networks.
    pub(crate) fn obstacles(&self) -> Vec<SubnetInUse> {
        let text = std::fs::read_to_string(&self.ground.config.resolv_conf);
        // Without such a file there are no servers.
        let servers = ResolvConf::parse(&text.unwrap_or_default()).servers;
        obstacles(&self.routed_subnets(), &servers)
    }

    /// A network whose VNI is another one from now on: its tunnels begin anew.
    pub(crate) fn renumber(&self, member: &Member, record: &NetworkRecord) {
        let _turn = self.turns.take(record.id.clone());
        let Some(place) = self.place(&record.id) else {
            return;
        };
        let before = place.record.vni_shared();
        if before.is_none() || before == record.vni_shared() {
            return;
        }
        let hosts = self.change(&record.id, |network| network.ways.hosts());
        let hosts = hosts.unwrap_or_default();
        for host in &hosts {
            self.close_tunnel_of(&record.id, host);
        }
        let renumbered = Arc::new(NetworkRecord {
            overlay: record.overlay.clone(),
            ..(*place.record).clone()
        });
        self.change(&record.id, |network| {
            network.record = Arc::clone(&renumbered);
        });
        let kept = self
            .ground
            .journal
            .put(&network_key(&record.id), &*renumbered);
        if let Err(error) = kept.wait() {
            self.ground.warn(format!(
                "network {:?} would have its old VNI after a restart: {error}",
                record.name
            ));
        }
        tracing::info!(network = record.name, vni = ?record.vni_shared(), "network has another VNI");
        if let Some(place) = self.place(&record.id) {
            for host in &hosts {
                self.open_tunnel_of(&place, member, host);
            }
        }
    }

    fn record_of(&self, id: &str) -> Option<Arc<NetworkRecord>> {
        let table = lock(&self.table);
        let network = table.networks.get(id)?;
        Some(Arc::clone(&network.record))
    }
}

impl Table {
    pub(super) fn find_kept_out(&self, called: &str) -> Option<&KeptOut> {
        let mut kept_out = self.kept_out.values();
        kept_out.find(|kept_out| kept_out.record.name == called || kept_out.record.id == called)
    }
}

impl KeptOut {
    pub(super) fn as_error(&self) -> Find {
        Find::NotHere {
            network: self.record.name.clone(),
            why: self.why.clone(),
        }
    }
}

impl Place {
    /// Why its containers are cut off, where they are.
    pub(crate) fn why_cut_off(&self) -> Option<String> {
        self.record.why_cut_off()
    }
}
