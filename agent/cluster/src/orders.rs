//! A manager makes another host a manager, or one of them a member.
//!
//! # Theory of operation
//!
//! A promotion is an order in the store, under a lease, that the host itself obeys. Whoever gave it waits for the host's record as a
//! manager, or for its reason why not, and then takes back what is left of it. If the manager that waits dies, the host goes
//! on; if both do, the order ends with its lease, and the next promotion clears away.
//!
//! A demotion needs nothing of the host, which may be dead for good: its etcd is taken from among the members, which etcd itself
//! refuses where too few would be left, and then its record goes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agent_core::shared::managers::{check_demotion, check_promotion, managers};
use agent_core::shared::{
    ALIVE, DEMOTE, HOSTS, HostRecord, MANAGERS, ManagerRecord, OrderRecord, PROMOTE,
};
use agent_store::{Change, ChangeMembers, Expected, StoreError};

use crate::admission::patiently;
use crate::clock::now_s;
use crate::error::{Refusal, UseCluster};
use crate::lock::lock;
use crate::member::Member;
use crate::roster::HostSeen;
use crate::settings::peer_url;

/// The managers, after one came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagersNow {
    /// The host that was asked about, by name.
    pub host: String,
    /// All managers, by name.
    pub names: Vec<String>,
    /// Whether they run etcd.
    pub run_etcd: bool,
}

impl Member {
    /// Makes a host a manager. Blocks until it is one, for some seconds. One that is already is no error.
    pub fn promote(&self, called: &str) -> Result<ManagersNow, UseCluster> {
        self.check_manager("promote")?;
        let host = self.find_host(called)?;
        if !host.is_manager {
            let checked = check_promotion(&self.world(), &host.id);
            checked.map_err(|why| Refusal::Promote {
                host: host.record.name.clone(),
                why,
            })?;
            if let Err(error) = self.order_promotion(&host)
                && !self.take_back(&host)
            {
                return Err(error);
            }
        }
        Ok(self.managers_with(host.record.name))
    }

    /// Makes a manager a member, whether or not it is alive. Waits a moment for one that is.
    pub fn demote(&self, called: &str) -> Result<ManagersNow, UseCluster> {
        self.check_manager("demote")?;
        let host = self.find_host(called)?;
        let runs_etcd = lock(&self.duty).etcd_managed;
        let checked = check_demotion(&self.world(), &host.id, runs_etcd);
        checked.map_err(|why| Refusal::Demote {
            host: host.record.name.clone(),
            why,
        })?;
        if runs_etcd {
            self.remove_from_etcd(&host)?;
        }
        let order = self.order();
        let key = |kind: &str| format!("{kind}{}", host.id);
        let changes = [
            Change::encode(key(DEMOTE), &order, Expected::Anything)?,
            Change::delete(key(MANAGERS), Expected::Anything),
            Change::delete(key(PROMOTE), Expected::Anything),
        ];
        self.repeatedly(&changes)?;
        self.wait_for(DEMOTION_LIMIT, || {
            let world = self.world();
            let is_known = !world.contains(&key(MANAGERS));
            let has_obeyed = !world.contains(&key(DEMOTE));
            (is_known && (has_obeyed || !world.contains(&key(ALIVE)))).then_some(())
        });
        Ok(self.managers_with(host.record.name))
    }

    fn order_promotion(&self, host: &HostSeen) -> Result<(), UseCluster> {
        let lease = self.store().grant(ORDER_LIMIT)?;
        let key = |kind: &str| format!("{kind}{}", host.id);
        self.store().transact(&[
            Change::encode(key(PROMOTE), &self.order(), Expected::Anything)?.under(lease),
            Change::delete(key(DEMOTE), Expected::Anything),
        ])?;
        let outcome = self.wait_for(PROMOTION_LIMIT, || {
            let world = self.world();
            if world.contains(&key(MANAGERS)) {
                return Some(Ok(()));
            }
            let order = world.find::<OrderRecord>(&key(PROMOTE));
            if let Some(why) = order.and_then(|(order, _)| order.failed) {
                return Some(Err(why));
            }
            let is_alive = world.contains(&key(ALIVE));
            (!is_alive).then(|| Err("it is down".to_owned()))
        });
        let outcome = outcome.unwrap_or_else(|| {
            Err(format!(
                "it has not obeyed within {} s",
                PROMOTION_LIMIT.as_secs()
            ))
        });
        outcome.map_err(|why| {
            Refusal::NotPromoted {
                host: host.record.name.clone(),
                why,
            }
            .into()
        })
    }

    /// Takes away what is left of a promotion that came to nothing. Says whether the host is a manager after all.
    fn take_back(&self, host: &HostSeen) -> bool {
        let key = |kind: &str| format!("{kind}{}", host.id);
        // Without the order the host cannot say any more that it is a manager.
        let taken = self
            .store()
            .delete(&key(PROMOTE), Expected::Anything)
            .and_then(|()| self.store().get(&key(MANAGERS)));
        match taken {
            Ok(Some(_)) => return true,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "an order of promotion stays until its lease ends");
                return false;
            }
        }
        let runs_etcd = lock(&self.duty).etcd_managed;
        if runs_etcd && let Err(error) = self.remove_from_etcd(host) {
            tracing::warn!(%error, "a member of etcd stays that is none; the next promotion takes it away");
        }
        false
    }

    /// Takes a host's etcd from among the members, as soon as etcd does so.
    fn remove_from_etcd(&self, host: &HostSeen) -> Result<(), UseCluster> {
        let refused = |error| match error {
            ChangeMembers::Store(StoreError::Unreachable { reason, .. }) => {
                Refusal::NoQuorum { reason }.into()
            }
            error => UseCluster::Members(error),
        };
        let etcd = self.access.etcd().ok_or(Refusal::OrderGone)?;
        let urls = self.peer_urls_of(host);
        let deadline = Instant::now() + HEALTHY_LIMIT;
        loop {
            let members = etcd.members()?;
            let is_its = |member: &&agent_store::EtcdMember| {
                member.name == host.id || member.peer_urls.iter().any(|url| urls.contains(url))
            };
            let Some(its) = members.iter().find(is_its) else {
                return Ok(());
            };
            match etcd.remove_member(its.id) {
                Ok(()) => return Ok(()),
                // Those that came last are connected for long enough soon. And who is removed may stop before it has answered.
                Err(
                    ChangeMembers::Unhealthy | ChangeMembers::Store(StoreError::Unreachable { .. }),
                ) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }

    /// Where its etcd may be known.
    fn peer_urls_of(&self, host: &HostSeen) -> Vec<String> {
        let served = self
            .world()
            .find::<ManagerRecord>(&format!("{MANAGERS}{}", host.id))
            .map(|(manager, _)| manager.address);
        let alive = host.alive.as_ref();
        let alive = alive.map(|alive| SocketAddr::new(alive.address, self.signer().port()));
        served.into_iter().chain(alive).map(peer_url).collect()
    }

    /// Writes what is right however often it is written: etcd may be electing a leader.
    fn repeatedly(&self, changes: &[Change]) -> Result<(), StoreError> {
        patiently(
            || self.store().transact(changes).map(drop),
            |error| matches!(error, StoreError::Unreachable { .. }),
        )
    }

    fn order(&self) -> OrderRecord {
        OrderRecord {
            by: self.settings.host.clone(),
            ordered_s: now_s(),
            failed: None,
        }
    }

    fn wait_for<T>(&self, limit: Duration, done: impl Fn() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(done) = done() {
                return Some(done);
            }
            if self.is_stopping() || Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn managers_with(&self, host: String) -> ManagersNow {
        let world = self.world();
        let name = |id: String| {
            let record = world.find::<HostRecord>(&format!("{HOSTS}{id}"));
            record.map_or(id, |(record, _)| record.name)
        };
        ManagersNow {
            host,
            names: managers(&world).into_iter().map(name).collect(),
            run_etcd: lock(&self.duty).etcd_managed,
        }
    }
}

/// The lease of an order: more than a promotion takes.
const ORDER_LIMIT: Duration = Duration::from_secs(90);
const PROMOTION_LIMIT: Duration = Duration::from_secs(60);
/// A host that lives obeys within a second.
const DEMOTION_LIMIT: Duration = Duration::from_secs(8);
/// etcd wants its members connected for 5 s before it lets one of them go.
const HEALTHY_LIMIT: Duration = Duration::from_secs(8);
