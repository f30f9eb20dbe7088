//! Going on with one manager where too many of the others are lost for etcd to work.
//!
//! # Theory of operation
//!
//! etcd changes nothing while half of its members are lost. It can be told to go on by itself with what it has
//! (`--force-new-cluster`): the changes that it has not seen, of the last moments, are lost with the others. Nobody must then go on
//! with what they have, so the other managers are removed from the cluster for good, as a dead host is ([`Member::remove`]).
//! One that comes back is a stranger, and has to be joined anew.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agent_core::shared::managers::managers;
use agent_core::shared::{CLUSTER, HOSTS, HostRecord, MANAGERS, ManagerRecord, PROMOTE};
use agent_store::{Change, Expected, StoreError};

use crate::ca::ca_hash;
use crate::error::{Refusal, UseCluster};
use crate::lock::lock;
use crate::member::Member;
use crate::restore::living;

/// What `cluster recover` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The names of the managers that were removed; empty where the store answers, so that there was nothing to do.
    pub removed: Vec<String>,
}

impl Member {
    /// Makes this host the only manager, where the store does not answer for want of the others. Blocks until it does; where it does not,
    /// for some 20 s.
    pub fn recover(&self) -> Result<Recovered, UseCluster> {
        self.check_manager("recover")?;
        let store = self.store();
        if store.get(CLUSTER).is_ok() {
            return Ok(Recovered {
                removed: Vec::new(),
            });
        }
        let others = self.other_managers();
        self.refuse_where_one_answers(&others)?;
        {
            let admission = lock(&self.admission).clone();
            let admission = admission.ok_or_else(|| self.no_manager("recover"))?;
            let etcd = lock(&admission.etcd);
            let etcd = etcd.as_ref().ok_or(Refusal::OutsideEtcd)?;
            etcd.begin_anew();
        }
        self.wait_for_answer()?;
        for (host, name, _) in &others {
            store.transact(&[
                Change::delete(format!("{MANAGERS}{host}"), Expected::Anything),
                Change::delete(format!("{PROMOTE}{host}"), Expected::Anything),
            ])?;
            self.forget_for_good(host, name, Expected::Anything)?;
        }
        let removed = others.into_iter().map(|(_, name, _)| name);
        Ok(Recovered {
            removed: removed.collect(),
        })
    }

    /// Their ids, names and addresses.
    fn other_managers(&self) -> Vec<(String, String, SocketAddr)> {
        let world = self.world();
        let others = managers(&world).into_iter();
        let others = others.filter(|host| *host != self.settings.host);
        others
            .filter_map(|host| {
                let (manager, _) = world.find::<ManagerRecord>(&format!("{MANAGERS}{host}"))?;
                let record = world.find::<HostRecord>(&format!("{HOSTS}{host}"));
                let name = record.map_or_else(|| host.clone(), |(record, _)| record.name);
                Some((host, name, manager.address))
            })
            .collect()
    }

    /// Two that go on by themselves would be two clusters.
    fn refuse_where_one_answers(
        &self,
        others: &[(String, String, SocketAddr)],
    ) -> Result<(), UseCluster> {
        let admission = lock(&self.admission).clone();
        let admission = admission.ok_or_else(|| self.no_manager("recover"))?;
        let ca_hash = ca_hash(&admission.authority().record().certificate)?;
        let addresses = others.iter().map(|(_, _, address)| *address);
        let Some(answers) = living(addresses, ca_hash, &self.runtime)? else {
            return Ok(());
        };
        let named = others.iter().find(|(_, _, address)| *address == answers);
        let name = named.map_or_else(|| answers.to_string(), |(_, name, _)| name.clone());
        Err(Refusal::ManagerAnswers(name).into())
    }

    fn wait_for_answer(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.store().get(CLUSTER) {
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(LOOK_AGAIN),
                Ok(_) => return Ok(()),
            }
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
