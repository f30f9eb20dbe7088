//! Removing containers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use agent_api::{ApiError, ErrorKind};
use agent_container::{SIGKILL, note_removal};
use agent_core::container::RemoveRunning;
use agent_core::events::Notice;
use agent_core::record::container_key;
use agent_store::StoreError;

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
                self.note_stop(&id)?;
                if let Err(error) = note_removal(&self.dir(&id)) {
                    tracing::debug!(container = id, %error, "those attached will not hear why it ends");
                }
                self.signal_and_wait(&id, SIGKILL, KILL_PATIENCE);
            }
        }
        let turn = self.turns.take(id);
        self.let_shim_end(&turn);
        self.kill(turn.about());
        self.release(&turn);
        self.drop_directory(&turn);
        // The directory goes first: what it holds may be what fills the disk.
        let forgotten = self.ground.journal.delete(&container_key(turn.about()));
        let forgotten = forgotten.wait();
        if forgotten.is_ok() {
            self.strike(&turn);
        }
        self.ended.notify_all();
        forgotten.map_err(|error| record_stays(called, &error))
    }

    /// Removes whatever there is of a container: process, network, directory, record. Goes on after a failure.
    pub(super) fn discard(&self, turn: &OwnTurn) {
        self.kill(turn.about());
        self.release(turn);
        self.forget(turn);
        self.ended.notify_all();
    }

    /// Removes directory and record of a container that has nothing of a network any more.
    pub(super) fn forget(&self, turn: &OwnTurn) {
        let id = turn.about();
        self.drop_directory(turn);
        self.strike(turn);
        let forgotten = self.ground.journal.forget(&container_key(id));
        if let Err(error) = forgotten.wait() {
            tracing::warn!(container = id, %error, "a container's record stays for now");
        }
    }

    fn drop_directory(&self, turn: &OwnTurn) {
        let dir = self.dir(turn.about());
        let mut removed = std::fs::remove_dir_all(&dir);
        for _ in 0..REMOVALS_MAX {
            match &removed {
                // A shim that was killed had just begun to write.
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                    removed = std::fs::remove_dir_all(&dir);
                }
                _ => break,
            }
        }
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "a container's directory stays");
        }
    }

    /// Off the list.
    fn strike(&self, turn: &OwnTurn) {
        let id = turn.about();
        let struck = {
            let mut table = lock(&self.table);
            // Whoever finds it there no more, and nothing else to settle, sees that something was freed.
            self.freed.fetch_add(1, Ordering::Relaxed);
            table.remove(id)
        };
        if let Some(container) = struck {
            self.tell(Notice::container(&container.record, "destroy"));
            tracing::info!(container = container.record.name, id, "container removed");
        }
    }
}

fn record_stays(called: &str, error: &StoreError) -> ApiError {
    ApiError::new(
        ErrorKind::Failed,
        format!("container {called:?} has ended and is not removed: {error}"),
    )
}

/// Of a directory that something is still written to.
const REMOVALS_MAX: usize = 8;
