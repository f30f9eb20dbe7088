//! Containers that are started again by themselves, as their policy says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use agent_api::{ApiError, RestartPolicy};
use agent_core::record::{Phase, container_key};
use agent_core::restart::{End, RestartRecord};

use super::create::host_failure;
use super::{Container, Containers};
use crate::journal::Kept;
use crate::locks::lock;

impl Containers {
    /// At a start of the agent: those that have ended, and should not have.
    pub(crate) fn start_ended(self: &Arc<Self>) {
        let due = Instant::now();
        let mut table = lock(&self.table);
        let ended = table
            .values_mut()
            .filter(|container| container.restarting.is_none());
        let wanted: Vec<_> = ended.filter(|container| container.is_wanted()).collect();
        for container in wanted {
            container.restarting = Some(due);
            container.record.restart.stopped = false;
            self.start_at(container.record.id.clone(), due);
        }
    }

    /// At the end of the agent, whose next start sees to it.
    pub(crate) fn start_no_more(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Undoes [`Containers::start_no_more`].
    pub(crate) fn let_start(&self) {
        self.is_closing.store(false, Ordering::Relaxed);
    }

    /// Whether a container that has ended runs again by itself, soon or already.
    pub(super) fn goes_on(self: &Arc<Self>, id: &str) -> bool {
        let has_policy =
            |container: Container| container.record.create.restart != RestartPolicy::No;
        if !self.get(id).is_some_and(has_policy) {
            return false;
        }
        self.settle(id);
        let goes_on =
            |container: Container| container.restarting.is_some() || !container.has_ended();
        self.get(id).is_some_and(goes_on)
    }

    /// Starts it again at that time, unless something else happens to it before.
    pub(super) fn start_at(self: &Arc<Self>, id: String, due: Instant) {
        let containers = Arc::clone(self);
        self.ground.runtime.spawn(async move {
            tokio::time::sleep_until(due.into()).await;
            let started = tokio::task::spawn_blocking(move || containers.start_again(&id, due));
            // It only fails when the agent is shutting down.
            let _ = started.await;
        });
    }

    fn start_again(self: &Arc<Self>, id: &str, due: Instant) {
        let is_due = |container: &Container| container.restarting == Some(due);
        let waiting = self.get(id).filter(is_due);
        let Some(waiting) = waiting.filter(|_| !self.is_closing.load(Ordering::Relaxed)) else {
            return;
        };
        let name = waiting.record.name;
        let made = self.past_ends(|| self.revive(id, is_due));
        let is_made = |container: &Container| container.record.phase == Phase::Created;
        let begun = match made {
            Ok(()) if self.get(id).is_some_and(|container| is_made(&container)) => {
                self.begin(id, name.clone(), false)
            }
            made => made,
        };
        if begun.is_ok() {
            self.restarts.fetch_add(1, Ordering::Relaxed);
        }
        if let Err(error) = begun {
            tracing::warn!(container = name, %error, "a container is not started again");
            self.try_once_more(id);
        }
    }

    /// After a failure to make it again: the host may let that be done later.
    fn try_once_more(self: &Arc<Self>, id: &str) {
        let restart = {
            let mut table = lock(&self.table);
            let Some(container) = table.get_mut(id) else {
                return;
            };
            match container.record.phase {
                Phase::Exited(code) if container.restarting.is_none() => {
                    let lasted = Duration::ZERO;
                    container.plan_restart(End { code, lasted });
                    container.restarting
                }
                _ => None,
            }
        };
        if let Some(due) = restart {
            self.start_at(id.to_owned(), due);
        }
    }

    /// Somebody stops it: it is not started again.
    pub(super) fn note_stop(&self, id: &str) -> Result<(), ApiError> {
        let stopped = |record: &mut RestartRecord| record.stopped = true;
        self.note(id, stopped)
    }

    /// Somebody starts it: what was counted counts no more.
    pub(super) fn note_start(&self, id: &str) -> Result<(), ApiError> {
        let anew = |record: &mut RestartRecord| {
            *record = RestartRecord {
                started: record.started,
                ..RestartRecord::default()
            };
        };
        self.note(id, anew)
    }

    /// What is not on record is not so: the next start of the agent would not know of it.
    fn note(&self, id: &str, change: impl FnOnce(&mut RestartRecord)) -> Result<(), ApiError> {
        let (before, kept) = {
            let mut table = lock(&self.table);
            let Some(container) = table.get_mut(id) else {
                return Ok(());
            };
            let before = (container.record.restart, container.restarting.take());
            change(&mut container.record.restart);
            let has_policy = container.record.create.restart != RestartPolicy::No;
            let journal = &self.ground.journal;
            let kept = has_policy.then(|| journal.put(&container_key(id), &container.record));
            (before, kept)
        };
        let Some(Err(error)) = kept.map(Kept::wait) else {
            return Ok(());
        };
        let mut table = lock(&self.table);
        let Some(container) = table.get_mut(id) else {
            return Ok(());
        };
        (container.record.restart, container.restarting) = before;
        Err(host_failure(&container.record, &error))
    }
}

impl Container {
    /// After its end: when it is started again, if it is.
    pub(super) fn plan_restart(&mut self, end: End) {
        let policy = self.record.create.restart;
        let pause = self.record.restart.after(policy, end);
        self.restarting = pause.map(|pause| Instant::now() + pause);
    }

    /// Whether a start of the agent starts it.
    fn is_wanted(&self) -> bool {
        let record = &self.record;
        match record.phase {
            Phase::Exited(code) => record.restart.at_start(record.create.restart, code),
            Phase::Created | Phase::Running => false,
        }
    }
}
