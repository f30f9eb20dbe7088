//! This host is a manager no more.
//!
//! # Theory of operation
//!
//! Whoever demotes this host has taken its etcd from among the members, and its record. The order stays until the host has
//! obeyed, however long it was off: it puts down the CA's key and all else that managers have, reaches the store through another
//! manager from then on, and takes the order away. So does one that was shut out while it was away, for which there is no order.

use std::net::SocketAddr;

use agent_core::shared::permit::is_revoked;
use agent_core::shared::{DEMOTE, MANAGERS, ManagerRecord};
use agent_store::{Expected, StoreError};

use crate::error::{Refusal, UseCluster};
use crate::lock::lock;
use crate::member::Member;
use crate::office;
use crate::settings::Duty;

impl Member {
    /// Obeys an order of demotion, for the first time or again.
    pub(crate) fn obey_demotion(&self) -> Result<(), UseCluster> {
        if self.signs() {
            self.step_down(self.another_manager()?)?;
            tracing::info!("this host is a manager no more");
        }
        let key = format!("{DEMOTE}{}", self.settings.host);
        match self.store().delete(&key, Expected::Anything) {
            // The next session does it.
            Err(StoreError::Unreachable { .. }) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Is a manager no more, since this host was shut out. Its etcd may be gone, and another manager's be what it reaches.
    pub(crate) fn stand_down(&self) -> Result<(), UseCluster> {
        let next = self.another_manager()?;
        // It may have said again that it is one before it heard. Who was shut out may find no store to take that back from.
        let key = format!("{MANAGERS}{}", self.settings.host);
        if let Err(error) = self.store().delete(&key, Expected::Anything) {
            tracing::warn!(%error, "this host may be called a manager still");
        }
        self.step_down(next)?;
        tracing::warn!("this host was shut out of the cluster, and is a manager no more");
        Ok(())
    }

    /// Becomes a member, whose manager is `next`. First of all on disk: who is killed now comes back as one.
    pub(crate) fn step_down(&self, next: SocketAddr) -> Result<(), UseCluster> {
        *lock(&self.duty) = Duty::default();
        lock(&self.place).signer = next;
        let settings = self.present_settings();
        self.files.save_settings(&settings)?;
        let admission = lock(&self.admission).take();
        let listening = lock(&self.tasks).signer.take();
        if let Some((_, signer)) = listening {
            signer.abort();
        }
        if let Some(admission) = admission {
            admission.retire();
        }
        self.access.change(&self.means(&settings))?;
        self.wake.notify_one();
        office::clear(&self.files);
        Ok(())
    }

    /// Where the first of the others serves.
    pub(crate) fn another_manager(&self) -> Result<SocketAddr, UseCluster> {
        let world = self.world();
        let mut others = world
            .under::<ManagerRecord>(MANAGERS)
            .filter(|(host, _)| *host != self.settings.host && !is_revoked(&world, host));
        let next = others.next().map(|(_, manager)| manager.address);
        Ok(next.ok_or(Refusal::NoOtherManager)?)
    }
}
