//! Containers that are on record, at the start of the agent.

use std::path::PathBuf;
use std::sync::Arc;

use agent_container::{Processes, processes, read_exit};
use agent_core::record::{ContainerRecord, Owner};

use super::{Container, Containers};
use crate::locks::lock;
use crate::publishing::Keeper;

/// What there is of a container that is on record.
pub(crate) struct Remains {
    /// The command's process, where it runs.
    pub(crate) init_pid: Option<i32>,
    /// How the command ended, where that is known.
    pub(crate) exit_code: Option<i32>,
}

impl Containers {
    /// What a shim left, or holds, of a container.
    pub(crate) fn remains(&self, id: &str) -> Remains {
        let dir = self.dir(id);
        let living = processes(&dir).ok().flatten();
        let living = living.filter(|found: &Processes| found.shim.is_alive());
        let exit = read_exit(&dir).ok().flatten();
        Remains {
            init_pid: living.map(|found| found.init.pid),
            exit_code: exit.map(|exit| exit.code),
        }
    }

    /// Commands that run in containers which are not among these records, as after a record was damaged: each with its process
    /// and the container's directory. Of those that have ended, the control groups go.
    pub(crate) fn unknown(&self, records: &[ContainerRecord]) -> Vec<(i32, PathBuf)> {
        let dirs = std::fs::read_dir(self.ground.config.state_dir.join("containers"));
        let dirs = dirs.into_iter().flatten().flatten();
        let unknown = dirs.filter(|dir| {
            let id = dir.file_name();
            records.iter().all(|record| *record.id != *id)
        });
        let running = unknown.filter_map(|dir| {
            let found = processes(&dir.path()).ok().flatten();
            let living = found.filter(|found| found.shim.is_alive());
            if living.is_none() {
                self.remove_groups(&dir.file_name().to_string_lossy());
            }
            Some((living?.init.pid, dir.path()))
        });
        running.collect()
    }

    /// Takes a container up as its record says; its process is `init_pid` where it runs.
    pub(crate) fn take_back(&self, record: ContainerRecord, init_pid: Option<i32>) {
        let container = Container {
            run: 0,
            init_pid,
            begins: false,
            is_ending: false,
            restarting: None,
            holder: None,
            record,
        };
        lock(&self.table).insert(container.record.id.clone(), container);
    }

    /// Goes on with a container that runs and has its endpoints again.
    pub(crate) fn resume(self: &Arc<Self>, id: &str) {
        let Some(container) = self.get(id) else {
            return;
        };
        let record = container.record;
        let targets = self.endpoints.targets(&Owner::Container(id.to_owned()));
        let publish = &record.ports();
        self.publishing
            .resume((id, &record.name), Keeper::Agent, publish, targets);
        self.watch(id.to_owned());
    }
}
