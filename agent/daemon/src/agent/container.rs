//! Containers: made, started, stopped, and cleaned up after, whoever ended them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_api::{
    ApiError, Attached, Connect, ContainerCreate, ContainerDetail, ContainerSummary, Created,
    Disconnect, EndpointDetail, ErrorKind, Exec, NetworkMode, Stop,
};

use super::container_plan::{attached_network, plan_container};
use super::endpoint::{Attachment, addresses, sandbox_of};
use super::error::{Contain, Find};
use super::state::{Container, State};
use super::{Agent, files, view};
use crate::container::attach::SOCKET_FILE;
use crate::container::{
    self, ContainerSpec, EtcFiles, ExecRequest, SandboxNetwork, StartContainer, read_exit,
};
use crate::name::check_name;
use crate::record::{ContainerRecord, Owner, Phase, container_key};

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

    pub(crate) fn create_container(
        self: &Arc<Self>,
        request: ContainerCreate,
    ) -> Result<Created, ApiError> {
        let mut state = self.state();
        self.settle_all(&mut state);
        let record = plan_container(&state, request)?;
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
        self.watch(created.id.clone());
        Ok(created)
    }

    pub(crate) fn start_container(&self, called: &str) -> Result<(), ApiError> {
        let (id, name) = {
            let state = self.state();
            let container = state.container(called)?;
            match container.record.phase {
                Phase::Created => {}
                Phase::Running => {
                    return Err(Contain::Started(container.record.name.clone()).into());
                }
                Phase::Exited(_) => {
                    return Err(Contain::NotRunning(container.record.name.clone()).into());
                }
            }
            (container.record.id.clone(), container.record.name.clone())
        };
        let started = container::start(&self.container_dir(&id));
        let mut state = self.state();
        if let Some(container) = state.containers.get_mut(&id)
            && container.record.phase == Phase::Created
        {
            container.record.phase = Phase::Running;
            let kept = self.store.put(&container_key(&id), &container.record);
            kept.map_err(|error| host_failure(&container.record, &error))?;
        }
        started.map_err(|error| not_started(name, error).into())
    }

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
                    return Err(Contain::Running(container.record.name.clone()).into());
                }
                Some(_) => id,
            }
        };
        self.signal_and_wait(&id, SIGKILL, KILL_PATIENCE);
        self.discard(&mut self.state(), &id);
        Ok(())
    }

    pub(crate) fn exec(&self, called: &str, request: Exec) -> Result<Attached, ApiError> {
        if request.command.is_empty() {
            return Err(Contain::NoCommand.into());
        }
        let (id, name) = {
            let state = self.state();
            let container = state.container(called)?;
            if container.record.phase != Phase::Running {
                return Err(Contain::NotRunning(container.record.name.clone()).into());
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
            .map_err(|error| Contain::Host {
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
            return Err(Contain::NotRunning(record.name).into());
        };
        if attached_network(&record.create.network).is_none() {
            return Err(Contain::NoSandbox(record.name).into());
        }
        let endpoint =
            self.attach_container(&mut state, &record, pid, &network_id, &request.settings)?;
        let network = state.network(&network_id)?;
        let endpoint = network
            .endpoints
            .get(&endpoint)
            .ok_or_else(|| Find::NoNetwork(network_id.clone()))?;
        Ok(view::endpoint(network, endpoint))
    }

    pub(crate) fn disconnect(&self, network: &str, request: &Disconnect) -> Result<(), ApiError> {
        let mut state = self.state();
        let network_id = state.network_id(network)?;
        let id = state.container_id(&request.container)?;
        let container = state.container(&request.container)?.record.name.clone();
        let State {
            networks,
            directory,
            ..
        } = &mut *state;
        let network = networks
            .get_mut(&network_id)
            .ok_or_else(|| Find::NoNetwork(network.to_owned()))?;
        let owner = Owner::Container(id);
        let endpoint = network
            .endpoints
            .values()
            .find(|endpoint| endpoint.record.owner == owner)
            .map(|endpoint| endpoint.record.id.clone());
        match endpoint {
            Some(endpoint) => {
                self.detach(directory, network, &endpoint);
                Ok(())
            }
            None => Err(Contain::NotOn {
                container,
                network: network.record.name.clone(),
            }
            .into()),
        }
    }

    /// Namespaces, link, published ports, files.
    fn make(&self, state: &mut State, record: ContainerRecord) -> Result<(), ApiError> {
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
                published: Vec::new(),
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
                .map(|endpoint| addresses(&endpoint.record))
                .unwrap_or_default();
            let hosts = files::hosts(&addresses, &record.hostname);
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
            name: &record.name,
            hostname: Some(&record.hostname),
            dns: &record.create.dns,
            link: None,
            settings,
        };
        self.attach(state, &attachment, &sandbox_of(pid))
    }

    fn spec(&self, state: &State, record: &ContainerRecord) -> Result<ContainerSpec, ApiError> {
        let create = &record.create;
        let (network, etc) = match &create.network {
            NetworkMode::Host => (SandboxNetwork::Host, given_servers(create)),
            NetworkMode::None => (SandboxNetwork::Private, given_servers(create)),
            NetworkMode::Container(called) => self.joined(state, called)?,
            NetworkMode::Default | NetworkMode::Network(_) => {
                let network = attached_network(&create.network).unwrap_or_default();
                let servers = name_servers(state, network, create)?;
                let etc = EtcFiles {
                    resolv_conf: Some(files::resolv_conf(&servers, &create.dns_search)),
                    ..EtcFiles::default()
                };
                (SandboxNetwork::Private, etc)
            }
        };
        Ok(ContainerSpec {
            id: record.id.clone(),
            hostname: record.hostname.clone(),
            command: create.command.clone(),
            env: create.env.clone(),
            workdir: create.workdir.clone(),
            rootfs: create.rootfs.clone(),
            tty: create.tty,
            interactive: create.interactive,
            network,
            private_users: create.private_users,
            etc: EtcFiles {
                hosts: Some(
                    etc.hosts
                        .unwrap_or_else(|| files::hosts(&[], &record.hostname)),
                ),
                hostname: Some(format!("{}\n", record.hostname)),
                ..etc
            },
        })
    }

    /// The namespace of another container, with its view of names.
    fn joined(&self, state: &State, called: &str) -> Result<(SandboxNetwork, EtcFiles), ApiError> {
        let other = state.container(called)?;
        let dir = self.container_dir(&other.record.id);
        let supervised = container::supervised(&dir)
            .ok()
            .flatten()
            .filter(|supervised| supervised.init.is_alive());
        let Some(supervised) = supervised else {
            return Err(Contain::NotRunning(other.record.name.clone()).into());
        };
        let file = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
        let etc = EtcFiles {
            resolv_conf: file("resolv.conf"),
            hosts: file("hosts"),
            hostname: None,
        };
        Ok((SandboxNetwork::Join(supervised.init), etc))
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

    fn settle_all(&self, state: &mut State) {
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
    fn release_network(&self, state: &mut State, id: &str) {
        self.unpublish(state, id);
        let owner = Owner::Container(id.to_owned());
        let State {
            networks,
            directory,
            ..
        } = state;
        for network in networks.values_mut() {
            let of_container = network
                .endpoints
                .values()
                .filter(|endpoint| endpoint.record.owner == owner);
            let endpoints: Vec<_> = of_container
                .map(|endpoint| endpoint.record.id.clone())
                .collect();
            for endpoint in endpoints {
                self.detach(directory, network, &endpoint);
            }
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
        state.containers.remove(id);
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

    pub(super) fn container_dir(&self, id: &str) -> PathBuf {
        self.config.state_dir.join("containers").join(id)
    }
}

fn given_servers(create: &ContainerCreate) -> EtcFiles {
    let given = !create.dns.is_empty() || !create.dns_search.is_empty();
    EtcFiles {
        resolv_conf: given.then(|| files::resolv_conf(&create.dns, &create.dns_search)),
        ..EtcFiles::default()
    }
}

/// On the network `bridge` a container's own servers are asked directly, elsewhere through the network's forwarder,
/// which knows the names of the network besides. Both as Docker does.
fn name_servers(
    state: &State,
    network: &str,
    create: &ContainerCreate,
) -> Result<Vec<IpAddr>, ApiError> {
    let record = &state.network(network)?.record;
    if record.name == super::network::DEFAULT_NETWORK && !create.dns.is_empty() {
        return Ok(create.dns.clone());
    }
    Ok(record.gateway_addresses())
}

pub(super) fn seconds_since_epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

fn host_failure(record: &ContainerRecord, error: &dyn std::fmt::Display) -> ApiError {
    Contain::Host {
        name: record.name.clone(),
        why: error.to_string(),
    }
    .into()
}

fn not_started(name: String, error: StartContainer) -> Contain {
    let why = error.to_string();
    match error {
        StartContainer::Refused {
            code: EXIT_NOT_FOUND,
            ..
        } => Contain::CommandNotFound { name, why },
        StartContainer::Refused { .. } => Contain::CommandNotExecutable { name, why },
        StartContainer::Unreachable(_) => Contain::Host { name, why },
    }
}

pub(super) fn check_container_name(name: &str) -> Result<(), Contain> {
    check_name(name).map_err(|source| Contain::Name {
        what: "container name",
        source,
    })
}

/// What a shell says of a program it does not find (POSIX.1-2017, XCU §2.8.2).
const EXIT_NOT_FOUND: i32 = 127;
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
const STOP_TIMEOUT_S: u32 = 10;
const KILL_PATIENCE: Duration = Duration::from_secs(5);
