//! Finding a manager at an address that nobody has told this host.

use std::net::SocketAddr;

use crate::error::{Refusal, UseCluster};
use crate::lock::lock;
use crate::manager_port::{Reply, Request, ask};
use crate::member::Member;

impl Member {
    /// Asks the manager at `manager` first from now on. Fails where none of this cluster answers there.
    pub fn point_to(&self, manager: SocketAddr) -> Result<(), UseCluster> {
        if self.signs() && self.session().is_some() {
            return Err(Refusal::IsManager.into());
        }
        let asking = ask(manager, self.identity().asking()?, |_| Request::Greet);
        let Reply::Greeted(greeted) = self.runtime.block_on(asking)? else {
            return Err(Refusal::OddAnswer.into());
        };
        if self.signs() {
            // It may have been demoted while it was away, and know none of those who are managers now.
            return match greeted.is_manager {
                Some(false) if !self.is_on_trial() => self.step_down(manager),
                _ => Err(Refusal::IsManager.into()),
            };
        }
        lock(&self.place).signer = manager;
        self.files.save_settings(&self.present_settings())?;
        self.start_over()
    }
}
