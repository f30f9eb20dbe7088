//! Starting commands, and making again what has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::ApiError;
use agent_container::{SIGKILL, StartContainer as Refusal, processes};
use agent_core::container::StartContainer;
use agent_core::events::Notice;
use agent_core::find::Find;
use agent_core::record::{ContainerRecord, Phase, container_key};
use agent_core::restart::End;

use super::create::host_failure;
use super::spec::seconds_since_epoch;
use super::{Container, Containers, OwnTurn};
use crate::journal::Kept;
use crate::locks::lock;

impl Containers {
    /// Starts the command, which ended or never ran. What has ended is made again first.
    pub(crate) fn start(self: &Arc<Self>, called: &str) -> Result<(), ApiError> {
        let id = self.find(called)?.record.id;
        self.settle(&id);
        let container = self.get(&id);
        let container = container.ok_or_else(|| Find::NoContainer(called.to_owned()))?;
        let ContainerRecord {
            name, phase, held, ..
        } = container.record;
        match phase {
            Phase::Created if container.init_pid.is_none() => {
                return Err(StartContainer::InTheMaking(name).into());
            }
            Phase::Created => self.take_over(&id, called)?,
            Phase::Running => return Err(StartContainer::Started(name).into()),
            Phase::Exited(_) => {
                self.note_start(&id)?;
                self.past_ends(|| self.revive(&id, |_| true))?;
            }
        }
        self.begin(&id, name, held)
    }

    /// Lets the command of a container begin that was made; one that was `held` goes where that cannot be kept on record.
    pub(super) fn begin(
        self: &Arc<Self>,
        id: &str,
        name: String,
        held: bool,
    ) -> Result<(), ApiError> {
        if let Some(container) = lock(&self.table).get_mut(id) {
            container.begins = true;
        }
        let started = agent_container::start(&self.dir(id));
        let (kept, restart) = self.note_begin(id, started.is_ok());
        if let Some((record, kept)) = kept
            && let Err(error) = kept.wait()
        {
            match held {
                true => self.discard(&self.turns.take(id.to_owned())),
                false => self.kill(id),
            }
            return Err(host_failure(&record, &error));
        }
        if let Some(due) = restart {
            self.start_at(id.to_owned(), due);
        }
        match started {
            Ok(()) => {
                tracing::info!(container = name, id, "container started");
                Ok(())
            }
            Err(error) => Err(not_started(name, &error).into()),
        }
    }

    /// It runs from now on, unless it has ended already. Then it may have to be started again: a command that never ran has
    /// no claim to that.
    fn note_begin(
        &self,
        id: &str,
        has_run: bool,
    ) -> (Option<(ContainerRecord, Kept)>, Option<Instant>) {
        let mut table = lock(&self.table);
        let Some(container) = table.get_mut(id) else {
            return (None, None);
        };
        if has_run && container.record.phase == Phase::Created {
            self.tell(Notice::container(&container.record, "start"));
        }
        container.begins = false;
        let is_first = has_run && !container.record.restart.started;
        container.record.restart.started |= has_run;
        let mut restart = None;
        match container.record.phase {
            Phase::Created => {
                container.record.phase = Phase::Running;
                container.record.since_s = seconds_since_epoch();
            }
            Phase::Exited(code) if is_first => {
                let lasted = Duration::ZERO;
                container.plan_restart(End { code, lasted });
                restart = container.restarting;
            }
            Phase::Exited(_) | Phase::Running => return (None, None),
        }
        let kept = self
            .ground
            .journal
            .put(&container_key(id), &container.record);
        (Some((container.record.clone(), kept)), restart)
    }

    /// Namespaces, link and published ports of an ended container, anew from its record. The command waits for its start.
    /// After a failure it is ended as before. Nothing is done where it is not `wanted`, as it is found when its turn comes.
    pub(super) fn revive(
        self: &Arc<Self>,
        id: &str,
        wanted: impl Fn(&Container) -> bool,
    ) -> Result<(), ApiError> {
        let turn = self.turns.take(id.to_owned());
        self.let_shim_end(&turn);
        let ended = match self.get(id) {
            None => return Err(Find::NoContainer(id.to_owned()).into()),
            // Somebody else was faster.
            Some(container) if !container.has_ended() || !wanted(&container) => return Ok(()),
            Some(container) => container.record,
        };
        let record = ContainerRecord {
            phase: Phase::Created,
            since_s: seconds_since_epoch(),
            ..ended.clone()
        };
        let made = self
            .replace(&record)
            .wait()
            .map_err(|error| host_failure(&record, &error))
            .and_then(|()| self.make(&turn, &record));
        if let Err(error) = made {
            self.end_again(&turn, &ended);
            return Err(error);
        }
        tracing::info!(container = ended.name, "container made again");
        self.watch(id.to_owned());
        Ok(())
    }

    /// All of a container's record but what is kept of its restarts, which whoever stops it may have changed meanwhile.
    fn replace(&self, record: &ContainerRecord) -> Kept {
        let mut record = record.clone();
        let mut table = lock(&self.table);
        if let Some(container) = table.get_mut(&record.id) {
            record.restart = container.record.restart;
            container.record = record.clone();
            container.run += 1;
            container.init_pid = None;
            container.restarting = None;
        }
        let key = container_key(&record.id);
        self.ground.journal.put(&key, &record)
    }

    /// The last shim may still have the end to tell to those attached.
    pub(super) fn let_shim_end(&self, turn: &OwnTurn) {
        let dir = self.dir(turn.about());
        let deadline = Instant::now() + TELLING_LIMIT;
        while let Ok(Some(last)) = processes(&dir)
            && last.shim.is_alive()
        {
            if Instant::now() > deadline {
                let _ = last.shim.signal(SIGKILL);
            }
            self.shims.reap();
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Takes back what was made of a container that could not be made again.
    fn end_again(&self, turn: &OwnTurn, ended: &ContainerRecord) {
        self.kill(&ended.id);
        self.release(turn);
        if let Err(error) = self.replace(ended).wait() {
            tracing::warn!(container = ended.name, %error, "the end of a container is not on record");
        }
    }
}

fn not_started(name: String, error: &Refusal) -> StartContainer {
    let why = error.to_string();
    match error {
        Refusal::Refused {
            code: EXIT_NOT_FOUND,
            ..
        } => StartContainer::CommandNotFound { name, why },
        Refusal::Refused { .. } => StartContainer::CommandNotExecutable { name, why },
        Refusal::Unreachable(_) => StartContainer::Host { name, why },
    }
}

/// What a shell says of a program it does not find (POSIX.1-2017, XCU §2.8.2).
const EXIT_NOT_FOUND: i32 = 127;
const TELLING_LIMIT: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
