//! Containers: made, started, stopped, and cleaned up after, whoever ended them.
//!
//! # Theory of operation
//!
//! A container is reserved in the table with its name, and made in its turn: namespaces by its shim, endpoint, published ports.
//! The shim outlives the agent; how the command ended it keeps beside the record. The end of a command is seen by a watch on
//! each container, which cleans up in the container's turn; whoever must know before looks for the end himself ([`end`]). Where
//! its policy wants that, a container is then started again after a pause, unless somebody stops it meanwhile ([`restart`]).
//!
//! What is made for one client to start is held by its connection, and goes with it until then ([`hold`]).
//!
//! Lists and inspections read what is in the table and what shims have written. They wait for nobody.

mod connect;
mod create;
mod end;
mod groups;
mod hold;
mod logs;
mod make;
mod remove;
mod restart;
mod restore;
mod spec;
mod start;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use agent_api::{ApiError, Attached, Exec, NetworkMode};
use agent_container::attach::SOCKET_FILE;
use agent_container::{ExecRequest, Given, PidNamespace, SIGKILL, Shims, processes};
use agent_core::container::{ExecCommand, NotRunning};
use agent_core::events::Notice;
use agent_core::find::{Find, find};
use agent_core::record::{ContainerRecord, NetnsId, Owner, Phase, container_key};
use agent_host::cgroup::Cgroups;

use hold::Holder;

use crate::endpoints::{Endpoints, leads_to, sandbox_of};
use crate::ground::Ground;
use crate::journal::Kept;
use crate::locks::lock;
use crate::networks::Networks;
use crate::publishing::Publishing;
use crate::turns::{Turn, Turns};

/// The containers of this host.
pub(crate) struct Containers {
    ground: Arc<Ground>,
    networks: Arc<Networks>,
    endpoints: Arc<Endpoints>,
    publishing: Arc<Publishing>,
    shims: Shims,
    cgroups: Cgroups,
    /// By id.
    table: Mutex<BTreeMap<String, Container>>,
    turns: Turns<String>,
    /// Some container has ended.
    ended: Condvar,
    /// How often something of a container was freed: its addresses, its name.
    freed: AtomicU64,
    /// How many were started again by themselves.
    restarts: AtomicU64,
    /// No container is started again by itself any more.
    is_closing: AtomicBool,
}

/// A container and what the agent holds for it.
#[derive(Clone)]
struct Container {
    record: ContainerRecord,
    /// Which of its runs it is in, by a number of its own: an end that is told late is not that of a later run.
    run: u64,
    /// The command's process, the sandbox's first, as the agent's process namespace numbers it.
    init_pid: Option<i32>,
    /// Its command is told to start, and nobody knows yet whether it did.
    begins: bool,
    /// Its command has ended, and what it had is being taken away.
    is_ending: bool,
    /// When it is started again, where it has ended and waits for that.
    restarting: Option<Instant>,
    /// Tells whoever holds it that he need not any more, by going.
    holder: Option<Holder>,
}

/// A container's turn; its id is what it is about.
type OwnTurn<'a> = Turn<'a, String>;

impl Containers {
    pub(crate) fn new(
        ground: Arc<Ground>,
        networks: Arc<Networks>,
        endpoints: Arc<Endpoints>,
        publishing: Arc<Publishing>,
        given: Given,
    ) -> Self {
        let cgroups = Cgroups::find();
        if let Some(missing) = cgroups.missing() {
            let warning = format!("containers cannot be limited in {missing}");
            ground.warn(warning);
        }
        Self {
            ground,
            networks,
            endpoints,
            publishing,
            shims: Shims::new(PathBuf::from("/proc/self/exe"))
                .giving(given)
                .with_nursery(),
            cgroups,
            table: Mutex::default(),
            turns: Turns::default(),
            ended: Condvar::new(),
            freed: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
        }
    }

    /// Prepares another command in a container that runs.
    pub(crate) fn exec(&self, called: &str, request: Exec) -> Result<Attached, ApiError> {
        if request.command.is_empty() {
            return Err(ExecCommand::NoCommand.into());
        }
        let container = self.find(called)?;
        let record = container.record;
        if record.phase != Phase::Running {
            return Err(ExecCommand::from(NotRunning::of(&record)).into());
        }
        let request = ExecRequest {
            command: request.command,
            env: request.env,
            workdir: request.workdir,
            tty: request.tty,
            interactive: request.interactive,
        };
        let failed = |why| ExecCommand::Host {
            name: record.name.clone(),
            why,
        };
        let (dir, made) = self
            .shims
            .exec(&self.dir(&record.id), &request)
            .map_err(|error| failed(error.to_string()))?;
        self.join_groups(&record.id, made.init)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Attached {
            attach: dir.join(SOCKET_FILE),
        })
    }

    /// The name of the container that has one of these PID namespaces, unless it is privileged.
    pub(crate) fn confined_in(&self, namespaces: &[PidNamespace]) -> Option<String> {
        let containers = self.all();
        let mut confined = containers
            .iter()
            .filter(|container| !container.record.create.privileged);
        let around = confined.find(|container| {
            let namespace = container
                .init_pid
                .and_then(|pid| PidNamespace::of(pid).ok());
            namespace.is_some_and(|namespace| namespaces.contains(&namespace))
        });
        around.map(|container| container.record.name.clone())
    }

    /// Whose namespace it is: that of a container, or one that somebody else made.
    pub(crate) fn owner_of(&self, sandbox: NetnsId) -> Owner {
        let has_it = |container: &Container| {
            let shares = matches!(container.record.create.network, NetworkMode::Container(_));
            let pid = container.init_pid.filter(|_| !shares);
            pid.is_some_and(|pid| leads_to(&sandbox_of(pid), sandbox))
        };
        match self.all().into_iter().find(has_it) {
            Some(container) => Owner::Container(container.record.id),
            None => Owner::Sandbox(sandbox),
        }
    }

    /// Waits until no act is going on, or `patience` is over.
    pub(crate) fn finish(&self, patience: Duration) {
        self.turns.settle(patience);
    }

    fn tell(&self, notice: Notice) {
        self.ground.events.tell(notice);
    }

    fn find(&self, called: &str) -> Result<Container, Find> {
        let table = lock(&self.table);
        let candidates = table
            .values()
            .map(|container| (container.record.id.as_str(), container.record.name.as_str()));
        let id = find(candidates, called)?;
        let found = id.and_then(|id| table.get(&id).cloned());
        found.ok_or_else(|| Find::NoContainer(called.to_owned()))
    }

    /// The container with that very id.
    fn get(&self, id: &str) -> Option<Container> {
        lock(&self.table).get(id).cloned()
    }

    /// One step on a container, whose record is kept then; nothing where it is not there.
    fn change(&self, id: &str, change: impl FnOnce(&mut Container)) -> Option<Kept> {
        let mut table = lock(&self.table);
        let container = table.get_mut(id)?;
        change(container);
        let key = container_key(id);
        Some(self.ground.journal.put(&key, &container.record))
    }

    fn all(&self) -> Vec<Container> {
        lock(&self.table).values().cloned().collect()
    }

    fn dir(&self, id: &str) -> PathBuf {
        self.ground.config.state_dir.join("containers").join(id)
    }

    /// Kills whatever runs of a container. Either process may be gone already; the container's processes die with them.
    fn kill(&self, id: &str) {
        if let Ok(Some(running)) = processes(&self.dir(id)) {
            let _ = running.init.signal(SIGKILL);
            let _ = running.shim.signal(SIGKILL);
        }
    }
}
