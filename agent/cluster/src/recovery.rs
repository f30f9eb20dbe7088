//! Going on with one manager where too many of the others are lost for etcd to work.
//!
//! # Theory of operation
//!
//! etcd changes nothing while half of its members are lost. It can be told to go on by itself with what it has
//! (`--force-new-cluster`): the changes that it has not seen, of the last moments, are lost with the others. Nobody must then go on
//! with what they have, so the other managers are removed from the cluster for good, as a dead host is ([`Member::remove`]).
//! One that comes back is a stranger, and has to be joined anew.
//!
//! Two of three that were lost for good, and both come back, are most of the etcd of before, and would go on with it: half a
//! cluster. So the record of the cluster says how often that was recovered ([`ClusterRecord::generation`]), and managers ask each
//! other for it when they come in step, and now and then. One that hears of a later life of its cluster is a manager no more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_core::shared::managers::managers;
use agent_core::shared::{
    CLUSTER, ClusterRecord, HOSTS, HostRecord, MANAGERS, ManagerRecord, PROMOTE,
};
use agent_store::{Change, Expected, StoreError};
use tokio::time::timeout;

use crate::ca::ca_hash;
use crate::error::{Refusal, UseCluster};
use crate::hex;
use crate::lock::lock;
use crate::manager_port::{Reply, Request, ask};
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
        self.begin_again()?;
        for (host, name, _) in &others {
            store.transact(&[
                Change::delete(format!("{MANAGERS}{host}"), Expected::Anything),
                Change::delete(format!("{PROMOTE}{host}"), Expected::Anything),
            ])?;
            self.forget_for_good(host, name, Expected::Anything)?;
        }
        let mut removed: Vec<_> = others.into_iter().map(|(_, name, _)| name).collect();
        removed.sort_unstable();
        Ok(Recovered { removed })
    }

    /// Epochs from now on are above those of what may be lost, and who was lost hears that the cluster went on.
    fn begin_again(&self) -> Result<(), UseCluster> {
        let store = self.store();
        let missing = || StoreError::Missing {
            key: CLUSTER.to_owned(),
        };
        let entry = store.get(CLUSTER)?.ok_or_else(missing)?;
        let cluster: ClusterRecord = entry.decode()?;
        let again = cluster.begin_again(hex::encode(&hex::random::<8>()));
        let change = Change::encode(CLUSTER, &again, Expected::written(&entry))?;
        Ok(store.transact(&[change]).map(drop)?)
    }

    /// As a manager: asks the others, in the background, whether the cluster went on without this one.
    pub(crate) fn ask_for_later_life(self: &Arc<Self>) {
        if !self.signs() {
            return;
        }
        for (_, name, address) in self.other_managers() {
            let member = Arc::clone(self);
            self.runtime.spawn(async move {
                let Ok(asking) = member.identity().asking() else {
                    return;
                };
                let greeting = ask(address, asking, |_| Request::Greet);
                let Ok(Ok(Reply::Greeted(greeted))) = timeout(GREET_LIMIT, greeting).await else {
                    return;
                };
                let both = greeted.generation.zip(member.world().generation());
                if both.is_some_and(|(its, own)| its > own) {
                    tracing::warn!(
                        manager = name,
                        "the cluster was recovered on another manager, and went on without this one"
                    );
                    *lock(&member.later_life) = Some(address);
                    member.wake.notify_one();
                }
            });
        }
    }

    /// Is a manager no more, where the cluster went on without this one.
    pub(crate) fn give_way(&self) -> Result<(), UseCluster> {
        let later = lock(&self.later_life).take();
        match later.filter(|_| self.signs()) {
            Some(manager) => self.step_down(manager),
            None => Ok(()),
        }
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
/// A manager that lives has answered by then.
const GREET_LIMIT: Duration = Duration::from_secs(3);
