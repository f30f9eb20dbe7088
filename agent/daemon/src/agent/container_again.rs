//! Containers that have ended, made again as they were.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::{ApiError, EndpointSettings};

use super::Agent;
use super::container::{host_failure, seconds_since_epoch};
use super::state::State;
use crate::container;
use crate::record::{ContainerRecord, Phase, container_key};
use agent_core::find::Find;

impl Agent {
    /// Namespaces, link and published ports of an ended container, anew from its record. The command waits for its start.
    /// After a failure it is ended as before.
    pub(super) fn revive(self: &Arc<Self>, id: &str) -> Result<(), ApiError> {
        self.let_supervisor_end(id);
        let mut state = self.state();
        let ended = match state.containers.get(id) {
            None => return Err(Find::NoContainer(id.to_owned()).into()),
            Some(container) => container.record.clone(),
        };
        if !matches!(ended.phase, Phase::Exited(_)) {
            // Somebody else was faster.
            return Ok(());
        }
        let record = ContainerRecord {
            phase: Phase::Created,
            since_s: seconds_since_epoch(),
            ..ended.clone()
        };
        self.store
            .put(&container_key(id), &record)
            .map_err(|error| host_failure(&record, &error))?;
        let made = self.make(&mut state, record);
        if let Err(error) = made.and_then(|()| self.connect_again(&mut state, id)) {
            self.end_again(&mut state, ended);
            return Err(error);
        }
        tracing::info!(container = ended.name, "container made again");
        self.watch(id.to_owned());
        Ok(())
    }

    /// Keeps in a container's record what it is connected to.
    pub(super) fn remember(
        &self,
        state: &mut State,
        id: &str,
        change: impl FnOnce(&mut Vec<(String, EndpointSettings)>),
    ) {
        let Some(container) = state.containers.get_mut(id) else {
            return;
        };
        change(&mut container.record.connected);
        if let Err(error) = self.store.put(&container_key(id), &container.record) {
            tracing::warn!(container = container.record.name, %error, "its networks are not on record for its next start");
        }
    }

    /// Attaches a container to the networks that it was connected to, where they are still there.
    fn connect_again(&self, state: &mut State, id: &str) -> Result<(), ApiError> {
        let Some(container) = state.containers.get(id) else {
            return Ok(());
        };
        let (record, init_pid) = (container.record.clone(), container.init_pid);
        for (network, settings) in &record.connected {
            match init_pid.filter(|_| state.networks.contains_key(network)) {
                Some(pid) => {
                    self.attach_container(state, &record, pid, network, settings)?;
                }
                None => tracing::warn!(container = record.name, network, "network is gone"),
            }
        }
        Ok(())
    }

    /// The last supervisor may still have the end to tell to those attached.
    fn let_supervisor_end(&self, id: &str) {
        let dir = self.container_dir(id);
        let deadline = Instant::now() + TELLING_LIMIT;
        while let Ok(Some(last)) = container::supervised(&dir)
            && last.shim.is_alive()
        {
            if Instant::now() > deadline {
                let _ = last.shim.signal(SIGKILL);
            }
            self.supervisor.reap();
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Takes back what was made of a container that could not be made again.
    fn end_again(&self, state: &mut State, ended: ContainerRecord) {
        let id = ended.id.clone();
        if let Ok(Some(supervised)) = container::supervised(&self.container_dir(&id)) {
            // Either may be gone already; the container's processes die with them.
            let _ = supervised.init.signal(SIGKILL);
            let _ = supervised.shim.signal(SIGKILL);
        }
        self.release_network(state, &id);
        if let Err(error) = self.store.put(&container_key(&id), &ended) {
            tracing::warn!(container = ended.name, %error, "the end of a container is not on record");
        }
        if let Some(container) = state.containers.get_mut(&id) {
            container.record = ended;
            container.init_pid = None;
        }
    }
}

const SIGKILL: i32 = 9;
const TELLING_LIMIT: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
