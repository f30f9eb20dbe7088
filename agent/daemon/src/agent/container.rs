//! Containers: made, started, stopped, and cleaned up after, whoever ended them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use agent_api::{
    ApiError, Attached, Connect, ContainerCreate, ContainerDetail, ContainerSummary, Created,
    Disconnect, EndpointDetail, Exec,
};
use agent_core::container::{
    self as plans, ConnectContainer, CreateContainer, DisconnectContainer, ExecCommand, NotRunning,
    PlanContainer, attached_network,
};
use agent_core::endpoint::Attachment;
use agent_core::hosts;

use super::container_spec::capabilities;
use super::endpoint::{open_sandbox, sandbox_of};
use super::state::{Container, State};
use super::{Agent, view};
use crate::container::attach::SOCKET_FILE;
use crate::container::{self, ExecRequest, PidNamespace, StartContainer};
use crate::random::new_id;
use crate::record::{ContainerRecord, Owner, Phase, container_key};
use agent_core::find::Find;

impl Agent {
    pub(crate) fn containers(&self) -> Vec<ContainerSummary> {
        let mut state = self.state();
        self.settle_all(&mut state);
        let mut summaries: Vec<_> = state
            .containers
            .values()
            .map(|container| view::container_summary(&state, container))
            .collect();
        summaries.sort_by(|one, other| {
            other
                .created_s
                .cmp(&one.created_s)
                .then_with(|| one.name.cmp(&other.name))
        });
        summaries
    }

    pub(crate) fn inspect_container(&self, called: &str) -> Result<ContainerDetail, ApiError> {
        let mut state = self.state();
        let id = state.container_id(called)?;
        self.settle(&mut state, &id);
        let container = state.container(called)?;
        Ok(view::container_detail(
            &state,
            container,
            &self.container_dir(&container.record.id),
        ))
    }

    /// The name of the container that has one of these PID namespaces, unless it is privileged.
    pub(crate) fn confined_in(&self, namespaces: &[PidNamespace]) -> Option<String> {
        let state = self.state();
        let mut confined = state
            .containers
            .values()
            .filter(|container| !container.record.create.privileged);
        let around = confined.find(|container| {
            let namespace = container
                .init_pid
                .and_then(|pid| PidNamespace::of(pid).ok());
            namespace.is_some_and(|namespace| namespaces.contains(&namespace))
        });
        around.map(|container| container.record.name.clone())
    }

    pub(crate) fn create_container(
        self: &Arc<Self>,
        request: ContainerCreate,
    ) -> Result<Created, ApiError> {
        let mut state = self.state();
        self.settle_all(&mut state);
        let record = plan(&state, request)?;
        self.store
            .put(&container_key(&record.id), &record)
            .map_err(|error| host_failure(&record, &error))?;
        let created = Created {
            id: record.id.clone(),
            name: record.name.clone(),
            attach: self.container_dir(&record.id).join(SOCKET_FILE),
        };
        if let Err(error) = self.make(&mut state, record) {
            self.discard(&mut state, &created.id);
            return Err(error);
        }
        tracing::info!(container = created.name, id = created.id, "container made");
        self.watch(created.id.clone());
        Ok(created)
    }

    /// Starts the command, which ended or never ran. What has ended is made again first.
    pub(crate) fn start_container(self: &Arc<Self>, called: &str) -> Result<(), ApiError> {
        let (id, name, phase) = {
            let mut state = self.state();
            let id = state.container_id(called)?;
            self.settle(&mut state, &id);
            let record = &state.container(called)?.record;
            (id, record.name.clone(), record.phase)
        };
        match phase {
            Phase::Created => {}
            Phase::Running => return Err(plans::StartContainer::Started(name).into()),
            Phase::Exited(_) => self.revive(&id)?,
        }
        let started = container::start(&self.container_dir(&id));
        let mut state = self.state();
        if let Some(container) = state.containers.get_mut(&id)
            && container.record.phase == Phase::Created
        {
            container.record.phase = Phase::Running;
            container.record.since_s = seconds_since_epoch();
            let kept = self.store.put(&container_key(&id), &container.record);
            kept.map_err(|error| host_failure(&container.record, &error))?;
        }
        match started {
            Ok(()) => {
                tracing::info!(container = name, id, "container started");
                Ok(())
            }
            Err(error) => Err(not_started(name, error).into()),
        }
    }

    pub(crate) fn exec(&self, called: &str, request: Exec) -> Result<Attached, ApiError> {
        if request.command.is_empty() {
            return Err(ExecCommand::NoCommand.into());
        }
        let (id, name) = {
            let state = self.state();
            let container = state.container(called)?;
            if container.record.phase != Phase::Running {
                return Err(NotRunning::of(&container.record).into());
            }
            (container.record.id.clone(), container.record.name.clone())
        };
        let request = ExecRequest {
            command: request.command,
            env: request.env,
            workdir: request.workdir,
            tty: request.tty,
            interactive: request.interactive,
        };
        let (dir, _) = self
            .supervisor
            .exec(&self.container_dir(&id), &request)
            .map_err(|error| ExecCommand::Host {
                name,
                why: error.to_string(),
            })?;
        Ok(Attached {
            attach: dir.join(SOCKET_FILE),
        })
    }

    pub(crate) fn connect(
        &self,
        network: &str,
        request: &Connect,
    ) -> Result<EndpointDetail, ApiError> {
        let mut state = self.state();
        let network_id = state.network_id(network)?;
        let id = state.container_id(&request.container)?;
        self.settle(&mut state, &id);
        let container = state.container(&request.container)?;
        let record = container.record.clone();
        let Some(pid) = container.init_pid else {
            return Err(NotRunning::of(&record).into());
        };
        if attached_network(&record.create.network).is_none() {
            return Err(ConnectContainer::NoSandbox(record.name).into());
        }
        let endpoint =
            self.attach_container(&mut state, &record, pid, &network_id, &request.settings)?;
        self.remember(&mut state, &id, |connected| {
            connected.push((network_id.clone(), request.settings.clone()));
        });
        self.follow_addresses(&mut state, &Owner::Container(id));
        let network = state.network(&network_id)?;
        let endpoint = network
            .endpoints
            .get(&endpoint)
            .ok_or_else(|| Find::NoNetwork(network_id.clone()))?;
        tracing::info!(
            container = record.name,
            network = network.record.name,
            "connected"
        );
        Ok(view::endpoint(network, endpoint))
    }

    pub(crate) fn disconnect(&self, network: &str, request: &Disconnect) -> Result<(), ApiError> {
        // Dropped after the lock.
        let _removed;
        let mut state = self.state();
        let network_id = state.network_id(network)?;
        let id = state.container_id(&request.container)?;
        let container = state.container(&request.container)?.record.name.clone();
        let network = state.network(&network_id)?;
        let owner = Owner::Container(id.clone());
        let endpoint = network
            .endpoints_of(&owner)
            .next()
            .map(|endpoint| endpoint.record.id.clone());
        match endpoint {
            Some(endpoint) => {
                let called = network.record.name.clone();
                _removed = self.detach(&mut state, &network_id, &endpoint);
                self.remember(&mut state, &id, |connected| {
                    connected.retain(|(network, _)| *network != network_id);
                });
                tracing::info!(container, network = called, "disconnected");
                Ok(())
            }
            None => Err(DisconnectContainer {
                container,
                network: network.record.name.clone(),
            }
            .into()),
        }
    }

    /// Namespaces, link, published ports, files.
    pub(super) fn make(&self, state: &mut State, record: ContainerRecord) -> Result<(), ApiError> {
        let spec = self.spec(state, &record)?;
        let dir = self.container_dir(&record.id);
        let supervised = self
            .supervisor
            .spawn(&dir, &spec)
            .map_err(|error| host_failure(&record, &error))?;
        let pid = supervised.init.pid;
        let id = record.id.clone();
        state.containers.insert(
            id.clone(),
            Container {
                record: record.clone(),
                init_pid: Some(pid),
                published: Default::default(),
            },
        );
        if let Some(network) = attached_network(&record.create.network) {
            let network_id = state.network_id(network)?;
            let endpoint =
                self.attach_container(state, &record, pid, &network_id, &record.create.endpoint)?;
            let endpoint = state
                .networks
                .get(&network_id)
                .and_then(|network| network.endpoints.get(&endpoint));
            let addresses = endpoint
                .map(|endpoint| endpoint.record.addresses())
                .unwrap_or_default();
            let hosts = hosts::hosts(&addresses, &record.hostname);
            std::fs::write(dir.join("hosts"), hosts)
                .map_err(|error| host_failure(&record, &error))?;
            self.publish(state, &id)?;
        }
        Ok(())
    }

    pub(super) fn attach_container(
        &self,
        state: &mut State,
        record: &ContainerRecord,
        pid: i32,
        network: &str,
        settings: &agent_api::EndpointSettings,
    ) -> Result<String, ApiError> {
        let attachment = Attachment {
            network,
            owner: Owner::Container(record.id.clone()),
            path: None,
            name: &record.name,
            hostname: Some(&record.hostname),
            dns: &record.create.dns,
            publish: &record.create.publish,
            link: None,
            settings,
        };
        let netns = open_sandbox(&sandbox_of(pid))?;
        self.attach(state, &attachment, &netns)
    }

    pub(super) fn container_dir(&self, id: &str) -> PathBuf {
        self.config.state_dir.join("containers").join(id)
    }
}

pub(super) fn seconds_since_epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

pub(super) fn host_failure(record: &ContainerRecord, error: &dyn std::fmt::Display) -> ApiError {
    CreateContainer {
        name: record.name.clone(),
        why: error.to_string(),
    }
    .into()
}

fn not_started(name: String, error: StartContainer) -> plans::StartContainer {
    let why = error.to_string();
    match error {
        StartContainer::Refused {
            code: EXIT_NOT_FOUND,
            ..
        } => plans::StartContainer::CommandNotFound { name, why },
        StartContainer::Refused { .. } => plans::StartContainer::CommandNotExecutable { name, why },
        StartContainer::Unreachable(_) => plans::StartContainer::Host { name, why },
    }
}

/// Checks everything that can be known beforehand.
fn plan(state: &State, request: ContainerCreate) -> Result<ContainerRecord, PlanContainer> {
    let taken = |name: &str| {
        let mut containers = state.containers.values();
        containers.any(|container| container.record.name == name)
    };
    let network = |called: &str| state.network(called).map(|network| &network.record);
    let container = |called: &str| state.container(called).map(|_| ());
    let fresh = plans::Fresh {
        id: new_id(),
        now_s: seconds_since_epoch(),
    };
    let record = plans::plan(request, taken, network, container, fresh)?;
    capabilities(&record.create)?;
    match &record.create.rootfs {
        Some(rootfs) if !rootfs.is_dir() => Err(PlanContainer::Rootfs {
            path: rootfs.clone(),
            why: "no such directory",
        }),
        _ => Ok(record),
    }
}

/// What a shell says of a program it does not find (POSIX.1-2017, XCU §2.8.2).
const EXIT_NOT_FOUND: i32 = 127;
