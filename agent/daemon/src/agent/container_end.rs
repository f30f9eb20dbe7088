//! How containers end: stopped, removed, or by themselves; and what is cleaned up after them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::{ApiError, ErrorKind, Stop};

use super::Agent;
use super::container::seconds_since_epoch;
use super::state::State;
use crate::container::{self, read_exit};
use crate::record::{Owner, Phase, container_key};
use agent_core::container::RemoveRunning;

impl Agent {
    /// Returns when the command has ended and everything of its network is gone.
    pub(crate) fn stop_container(&self, called: &str, request: Stop) -> Result<(), ApiError> {
        let (id, running) = {
            let mut state = self.state();
            let id = state.container_id(called)?;
            self.settle(&mut state, &id);
            let running = state
                .containers
                .get(&id)
                .is_some_and(|container| !matches!(container.record.phase, Phase::Exited(_)));
            (id, running)
        };
        if !running {
            return Ok(());
        }
        let patience = Duration::from_secs(u64::from(request.timeout_s.unwrap_or(STOP_TIMEOUT_S)));
        if self.signal_and_wait(&id, SIGTERM, patience)
            || self.signal_and_wait(&id, SIGKILL, KILL_PATIENCE)
        {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorKind::Failed,
            format!(
                "container {called:?} did not end, not even by SIGKILL; look for its process in uninterruptible sleep"
            ),
        ))
    }

    /// Removes an ended container, or any by force.
    pub(crate) fn remove_container(&self, called: &str, force: bool) -> Result<(), ApiError> {
        let id = {
            let mut state = self.state();
            let id = state.container_id(called)?;
            self.settle(&mut state, &id);
            match state.containers.get(&id) {
                // It ended and was to be removed at its end.
                None => return Ok(()),
                Some(container) if matches!(container.record.phase, Phase::Exited(_)) => {
                    self.discard(&mut state, &id);
                    return Ok(());
                }
                Some(container) if !force => {
                    return Err(RemoveRunning(container.record.name.clone()).into());
                }
                Some(_) => id,
            }
        };
        self.signal_and_wait(&id, SIGKILL, KILL_PATIENCE);
        self.discard(&mut self.state(), &id);
        Ok(())
    }

    /// Follows the container to its end, in the background.
    pub(super) fn watch(self: &Arc<Self>, id: String) {
        let agent = Arc::clone(self);
        self.runtime.spawn(async move {
            let exit = container::wait(&agent.container_dir(&id)).await;
            let ended = tokio::task::spawn_blocking(move || {
                agent.ended(&mut agent.state(), &id, exit.code);
                agent.supervisor.reap();
            });
            // It only fails when the agent is shutting down.
            let _ = ended.await;
        });
    }

    /// Takes notice of an end that the background has not reported yet.
    pub(super) fn settle(&self, state: &mut State, id: &str) {
        if let Ok(Some(exit)) = read_exit(&self.container_dir(id)) {
            self.ended(state, id, exit.code);
        }
    }

    pub(super) fn settle_all(&self, state: &mut State) {
        let running: Vec<_> = state
            .containers
            .values()
            .filter(|container| container.init_pid.is_some())
            .map(|container| container.record.id.clone())
            .collect();
        for id in running {
            self.settle(state, &id);
        }
    }

    /// The command has ended: its ports, links and addresses go, the record stays unless it was to be removed.
    pub(super) fn ended(&self, state: &mut State, id: &str, code: i32) {
        let Some(container) = state.containers.get_mut(id) else {
            return;
        };
        if matches!(container.record.phase, Phase::Exited(_)) {
            return;
        }
        container.record.phase = Phase::Exited(code);
        container.record.since_s = seconds_since_epoch();
        container.init_pid = None;
        let remove = container.record.create.remove;
        let record = container.record.clone();
        tracing::info!(container = record.name, code, "container ended");
        self.release_network(state, id);
        if remove {
            // The supervisor still has the end to tell to those attached; then it ends by itself.
            self.forget_container(state, id);
        } else if let Err(error) = self.store.put(&container_key(id), &record) {
            tracing::warn!(container = record.name, %error, "the end of a container is not on record");
        }
        self.ended.notify_all();
    }

    /// Unpublishes and detaches.
    pub(super) fn release_network(&self, state: &mut State, id: &str) {
        self.unpublish(state, id);
        let owner = Owner::Container(id.to_owned());
        for (network, endpoint) in state.endpoint_ids(|endpoint| endpoint.record.owner == owner) {
            self.detach(state, &network, &endpoint);
        }
    }

    /// Removes whatever there is of a container: process, network, directory, record. Goes on after a failure.
    pub(super) fn discard(&self, state: &mut State, id: &str) {
        let dir = self.container_dir(id);
        if let Ok(Some(supervised)) = container::supervised(&dir) {
            // Either may be gone already; the container's processes die with them.
            let _ = supervised.init.signal(SIGKILL);
            let _ = supervised.shim.signal(SIGKILL);
        }
        self.forget_container(state, id);
    }

    /// Removes network, directory and record of a container whose command has ended.
    fn forget_container(&self, state: &mut State, id: &str) {
        let dir = self.container_dir(id);
        self.release_network(state, id);
        if let Some(container) = state.containers.remove(id) {
            tracing::info!(container = container.record.name, id, "container removed");
        }
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "a container's directory stays");
        }
        if let Err(error) = self.store.delete(&container_key(id)) {
            tracing::warn!(container = id, %error, "a container's record stays until the next start");
        }
    }

    /// Whether the container was seen to end in time. The lock is free while this waits.
    fn signal_and_wait(&self, id: &str, signal: i32, patience: Duration) -> bool {
        // A failure means that it has just ended, which the wait will see.
        let _ = container::signal(&self.container_dir(id), signal);
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        loop {
            let over = state
                .containers
                .get(id)
                .is_none_or(|container| matches!(container.record.phase, Phase::Exited(_)));
            if over {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wait_for_an_end(state, left);
        }
    }
}

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
const STOP_TIMEOUT_S: u32 = 10;
const KILL_PATIENCE: Duration = Duration::from_secs(5);
