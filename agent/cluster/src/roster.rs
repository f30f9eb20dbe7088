//! Who belongs to the cluster: admitted, listed, shut out, gone.

use std::net::SocketAddr;
use std::time::Duration;

use crate::admission::patiently;
use crate::ca::ca_hash;
use crate::clock::now_s;
use crate::error::{Refusal, UseCluster};
use crate::leavings::forget_host;
use crate::member::Member;
use crate::token::{JoinToken, secret_hash};
use agent_core::shared::{
    ALIVE, AliveRecord, CLUSTER, FOLLOWED, HOSTS, HostRecord, MANAGERS, ManagerRecord, REVOKED,
    RevokedRecord, TOKENS, TokenRecord,
};
use agent_store::{Change, Expected, StoreError};

/// A host as `cluster ls` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSeen {
    pub id: String,
    pub record: HostRecord,
    pub alive: Option<AliveRecord>,
    pub is_manager: bool,
}

impl Member {
    /// Makes a token that admits one host within `ttl`. Returns it with the signer's address, where that host has to go.
    pub fn token(&self, ttl: Duration) -> Result<(JoinToken, SocketAddr), UseCluster> {
        patiently(
            || self.make_token(ttl),
            |error| matches!(error, UseCluster::Store(StoreError::Unreachable { .. })),
        )
    }

    fn make_token(&self, ttl: Duration) -> Result<(JoinToken, SocketAddr), UseCluster> {
        self.check_manager("token")?;
        let token = JoinToken::new(ca_hash(&self.identity().ca)?);
        let lease = self.store().grant(ttl)?;
        let record = TokenRecord {
            secret_hash: secret_hash(&token.secret()),
            expires_s: now_s() + ttl.as_secs(),
        };
        let key = format!("{TOKENS}{}", token.id());
        self.store()
            .transact(&[Change::encode(key, &record, Expected::Absent)?.under(lease)])?;
        Ok((token, self.signer_told()))
    }

    /// The members, by id.
    pub fn hosts(&self) -> Vec<HostSeen> {
        let world = self.world();
        let hosts = world.under::<HostRecord>(HOSTS);
        hosts
            .map(|(id, record)| HostSeen {
                id: id.to_owned(),
                record,
                is_manager: world.contains(&format!("{MANAGERS}{id}")),
                alive: world
                    .find::<AliveRecord>(&format!("{ALIVE}{id}"))
                    .map(|(alive, _)| alive),
            })
            .collect()
    }

    /// Shuts a host out for good: its certificates are void, and its addresses are free.
    pub fn revoke(&self, called: &str) -> Result<HostSeen, UseCluster> {
        self.check_manager("revoke")?;
        let host = self.find_host(called)?;
        if host.id == self.settings.host {
            return Err(Refusal::RevokesItself.into());
        }
        if host.is_manager {
            return Err(Refusal::RevokesManager(host.record.name).into());
        }
        let record = RevokedRecord {
            name: host.record.name.clone(),
            revoked_s: now_s(),
        };
        let key = |prefix: &str| format!("{prefix}{}", host.id);
        self.store().transact(&[
            Change::encode(key(REVOKED), &record, Expected::Anything)?,
            Change::delete(key(HOSTS), Expected::Anything),
            Change::delete(key(ALIVE), Expected::Anything),
            Change::delete(key(FOLLOWED), Expected::Anything),
            Change::delete(key(MANAGERS), Expected::Anything),
        ])?;
        patiently(
            || forget_host(&*self.store(), &host.id),
            |error| matches!(error, StoreError::Unreachable { .. }),
        )?;
        Ok(host)
    }

    /// Only managers have the right to it; members are told where.
    pub(crate) fn check_manager(&self, verb: &'static str) -> Result<(), UseCluster> {
        match self.signs() {
            true => Ok(()),
            false => Err(self.no_manager(verb)),
        }
    }

    /// What a member is told that wants what only managers do.
    pub(crate) fn no_manager(&self, verb: &'static str) -> UseCluster {
        let world = self.world();
        let managers = world.under::<ManagerRecord>(MANAGERS);
        let names = managers.map(|(id, manager)| {
            let host = world.find::<HostRecord>(&format!("{HOSTS}{id}"));
            host.map_or(manager.address.to_string(), |(host, _)| host.name)
        });
        let managers = names.collect::<Vec<_>>().join(", ");
        Refusal::NoManager { verb, managers }.into()
    }

    pub(crate) fn find_host(&self, called: &str) -> Result<HostSeen, UseCluster> {
        let hosts = self.hosts();
        let exact = |host: &&HostSeen| host.id == called;
        if let Some(host) = hosts.iter().find(exact) {
            return Ok(host.clone());
        }
        let fits = |host: &&HostSeen| {
            host.record.name == called || (called.len() >= 4 && host.id.starts_with(called))
        };
        match hosts.iter().filter(fits).collect::<Vec<_>>().as_slice() {
            [] => Err(UseCluster::NoHost(called.to_owned())),
            [host] => Ok((*host).clone()),
            _ => Err(UseCluster::Ambiguous(called.to_owned())),
        }
    }

    /// Takes this host out of the cluster: in the store as far as that can be reached, on disk always. The member is stopped
    /// then.
    pub fn leave(&self) -> Result<(), UseCluster> {
        let mut others = self.hosts();
        others.retain(|host| host.id != self.settings.host);
        if self.signs() && others.iter().any(|host| host.is_manager) {
            return Err(Refusal::Manages(self.settings.name.clone()).into());
        }
        if self.signs() && !others.is_empty() {
            return Err(Refusal::StillNeeded.into());
        }
        self.begin_stopping();
        let farewell = || -> Result<(), StoreError> {
            forget_host(&*self.store(), &self.settings.host)?;
            let own = [HOSTS, FOLLOWED].map(|kind| {
                let key = format!("{kind}{}", self.settings.host);
                Change::delete(key, Expected::Anything)
            });
            self.store().transact(&own)?;
            if self.signs() {
                let manager = format!("{MANAGERS}{}", self.settings.host);
                self.store().delete(&manager, Expected::Anything)?;
                self.store().delete(CLUSTER, Expected::Anything)?;
            }
            Ok(())
        };
        // What the store has of this id is another's then.
        if self.double().is_none()
            && let Err(error) = farewell()
        {
            tracing::warn!(%error, "the cluster does not know that this host left; `tapestry cluster revoke` there tells it");
        }
        self.stop();
        self.files.remove()?;
        Ok(())
    }
}
