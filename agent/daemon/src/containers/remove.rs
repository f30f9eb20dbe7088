//! Removing containers.

use std::sync::Arc;

use agent_api::ApiError;
use agent_container::SIGKILL;
use agent_core::container::RemoveRunning;
use agent_core::record::container_key;

use super::end::KILL_PATIENCE;
use super::{Containers, OwnTurn};
use crate::locks::lock;

impl Containers {
    /// Removes an ended container, or any by force.
    pub(crate) fn remove(self: &Arc<Self>, called: &str, force: bool) -> Result<(), ApiError> {
        let id = self.find(called)?.record.id;
        self.settle(&id);
        match self.get(&id) {
            // It ended and was to be removed at its end.
            None => return Ok(()),
            Some(container) if container.has_ended() => {}
            Some(container) if !force => {
                return Err(RemoveRunning(container.record.name).into());
            }
            Some(_) => {
                self.note_stop(&id);
                self.signal_and_wait(&id, SIGKILL, KILL_PATIENCE);
            }
        }
        self.discard(&self.turns.take(id));
        Ok(())
    }

    /// Removes whatever there is of a container: process, network, directory, record. Goes on after a failure.
    pub(super) fn discard(&self, turn: &OwnTurn) {
        self.kill(turn.about());
        self.release_network(turn);
        self.forget(turn);
        self.ended.notify_all();
    }

    /// Removes directory and record of a container that has nothing of a network any more.
    pub(super) fn forget(&self, turn: &OwnTurn) {
        let id = turn.about();
        let dir = self.dir(id);
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "a container's directory stays");
        }
        let forgotten = {
            let mut table = lock(&self.table);
            if let Some(container) = table.remove(id) {
                tracing::info!(container = container.record.name, id, "container removed");
            }
            self.ground.journal.delete(&container_key(id))
        };
        if let Err(error) = forgotten.wait() {
            tracing::warn!(container = id, %error, "a container's record stays until the next start");
        }
    }
}
