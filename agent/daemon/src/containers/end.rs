//! How containers end: stopped, removed, or by themselves; and what is cleaned up after them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use agent_api::{ApiError, ErrorKind, Stop};
use agent_container::{SIGKILL, SIGTERM, read_exit};
use agent_core::events::Notice;
use agent_core::record::{ContainerRecord, Owner, Phase};
use agent_core::restart::End;

use super::spec::seconds_since_epoch;
use super::{Container, Containers, OwnTurn};
use crate::journal::Kept;
use crate::locks::{lock, wait_for};

impl Containers {
    /// Returns when the command has ended and everything of its network is gone.
    pub(crate) fn stop(self: &Arc<Self>, called: &str, request: Stop) -> Result<(), ApiError> {
        let id = self.find(called)?.record.id;
        self.note_stop(&id)?;
        self.settle(&id);
        // It may be started again just now.
        drop(self.turns.take(id.clone()));
        if self.get(&id).is_none_or(|container| container.has_ended()) {
            return Ok(());
        }
        let patience = Duration::from_secs(u64::from(request.timeout_s.unwrap_or(Stop::TIMEOUT_S)));
        let stopped = self
            .get(&id)
            .map(|it| Notice::container(&it.record, "stop"));
        if self.signal_and_wait(&id, SIGTERM, patience)
            || self.signal_and_wait(&id, SIGKILL, KILL_PATIENCE)
        {
            if let Some(stopped) = stopped {
                self.tell(stopped);
            }
            return Ok(());
        }
        Err(ApiError::new(
            ErrorKind::Failed,
            format!(
                "container {called:?} did not end, not even by SIGKILL; look for its process in uninterruptible sleep"
            ),
        ))
    }

    /// Follows the container to its end, in the background.
    pub(super) fn watch(self: &Arc<Self>, id: String) {
        let Some(run) = self.get(&id).map(|container| container.run) else {
            return;
        };
        let containers = Arc::clone(self);
        self.ground.runtime.spawn(async move {
            let exit = agent_container::wait(&containers.dir(&id)).await;
            let ended = tokio::task::spawn_blocking(move || {
                containers.end_run(&id, run, exit.code);
                containers.shims.reap();
            });
            // It only fails when the agent is shutting down.
            let _ = ended.await;
        });
    }

    /// Takes notice of an end that the watch has not seen yet. Whether the container has ended: then it is cleaned up after.
    pub(super) fn settle(self: &Arc<Self>, id: &str) -> bool {
        match self.get(id) {
            // Somebody is at it, and may have removed what tells of the end.
            Some(container) if container.is_ending => {
                drop(self.turns.take(id.to_owned()));
                true
            }
            Some(container) if container.runs() || container.has_ended() => {
                let Ok(Some(exit)) = read_exit(&self.dir(id)) else {
                    return false;
                };
                self.end_run(id, container.run, exit.code);
                true
            }
            _ => false,
        }
    }

    /// The same for all containers. Whether any of them had still to be cleaned up after.
    pub(crate) fn settle_all(self: &Arc<Self>) -> bool {
        let unsettled = self
            .all()
            .into_iter()
            .filter(|container| container.is_ending || !container.has_ended());
        let mut any = false;
        for container in unsettled {
            any |= self.settle(&container.record.id);
        }
        any
    }

    /// The command has ended: its ports, links and addresses go, the record stays unless it was to be removed. Whoever comes
    /// later waits until that is done. It may be started again after a while.
    pub(crate) fn end(self: &Arc<Self>, id: &str, code: i32) {
        if let Some(container) = self.get(id) {
            self.end_run(id, container.run, code);
        }
    }

    /// The same, unless the run has given way to another one.
    fn end_run(self: &Arc<Self>, id: &str, run: u64, code: i32) {
        let turn = self.turns.take(id.to_owned());
        let Some((record, restart)) = self.begin_end(id, run, code) else {
            return;
        };
        tracing::info!(container = record.name, code, "container ended");
        self.release(&turn);
        if record.create.remove {
            // The shim still has the end to tell to those attached; then it ends by itself.
            self.forget(&turn);
        } else {
            self.finish_end(&turn, &record.name);
        }
        self.ended.notify_all();
        if let Some(due) = restart {
            self.start_at(id.to_owned(), due);
        }
    }

    /// The container is ended from now on, for everybody who looks; with the time at which it is started again.
    fn begin_end(
        &self,
        id: &str,
        run: u64,
        code: i32,
    ) -> Option<(ContainerRecord, Option<Instant>)> {
        let mut table = lock(&self.table);
        let container = table.get_mut(id)?;
        if container.has_ended() || container.run != run {
            return None;
        }
        // So short that its start was not told yet.
        if container.begins && !NEVER_RAN.contains(&code) {
            self.tell(Notice::container(&container.record, "start"));
        }
        container.begins = false;
        let died = Notice::container(&container.record, "die");
        self.tell(died.with("exitCode", code));
        let now_s = seconds_since_epoch();
        let lasted = now_s.saturating_sub(container.record.since_s);
        container.record.phase = Phase::Exited(code);
        container.record.since_s = now_s;
        container.init_pid = None;
        container.is_ending = true;
        let lasted = Duration::from_secs(lasted);
        container.plan_restart(End { code, lasted });
        Some((container.record.clone(), container.restarting))
    }

    fn finish_end(&self, turn: &OwnTurn, name: &str) {
        let kept = self.change(turn.about(), |container| container.is_ending = false);
        if let Some(Err(error)) = kept.map(Kept::wait) {
            tracing::warn!(container = name, %error, "the end of a container is not on record");
        }
    }

    /// Unpublishes, detaches, and removes the control groups.
    pub(super) fn release(&self, turn: &OwnTurn) {
        let id = turn.about();
        self.publishing.unpublish(id);
        self.endpoints.detach_all(&Owner::Container(id.clone()));
        self.remove_groups(id);
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the container was seen to end in time.
    pub(super) fn signal_and_wait(&self, id: &str, signal: i32, patience: Duration) -> bool {
        if let Some(container) = self.get(id) {
            let killed = Notice::container(&container.record, "kill");
            self.tell(killed.with("signal", signal));
        }
        // A failure means that it has just ended, which the wait will see.
        let _ = agent_container::signal(&self.dir(id), signal);
        let deadline = Instant::now() + patience;
        let mut table = lock(&self.table);
        loop {
            let is_over = |container: &Container| container.has_ended() && !container.is_ending;
            if table.get(id).is_none_or(is_over) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            table = wait_for(&self.ended, table, left);
        }
    }
}

impl Container {
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.record.phase, Phase::Exited(_))
    }

    /// Its process was made, and nobody has seen its end. Before that, what tells of an end is of the last run.
    pub(super) const fn runs(&self) -> bool {
        self.init_pid.is_some() && !self.has_ended()
    }
}

/// What shells say of a command that cannot be run (POSIX.1-2017, XCU §2.8.2).
const NEVER_RAN: [i32; 2] = [126, 127];
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(5);
