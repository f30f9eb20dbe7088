//! The control groups of containers.
//!
//! A container's processes enter them before its command begins. Which ones they are stands in a file beside the container's
//! record before they are made, so that they go with it even if the agent comes back in another group of its own.

use std::path::PathBuf;

use agent_api::{ApiError, ErrorKind};
use agent_container::{ProcessId, SIGKILL};
use agent_core::record::ContainerRecord;
use agent_host::cgroup::{self, Limits, MakeCgroup};

use super::Containers;
use super::create::host_failure;

impl Containers {
    /// Gives a container groups of its own. Without limits it is as well off in the agent's, where the host wants it so.
    pub(super) fn enter_groups(&self, record: &ContainerRecord, pid: i32) -> Result<(), ApiError> {
        let limits = Limits {
            memory: record.create.memory,
            nano_cpus: record.create.nano_cpus,
            pids: record.create.pids,
        };
        let paths = self.cgroups.paths(&record.id);
        std::fs::write(self.groups_file(&record.id), to_text(&paths))
            .map_err(|error| host_failure(record, &error))?;
        let made = self.cgroups.make(&record.id, &limits);
        match made.and_then(|()| cgroup::enter(&paths, pid)) {
            Ok(()) => Ok(()),
            Err(error @ MakeCgroup::NoController { .. }) => Err(ApiError::new(
                ErrorKind::Unsupported,
                format!("container {:?}: {error}", record.name),
            )),
            Err(error) if limits != Limits::default() => Err(host_failure(record, &error)),
            Err(error) => {
                self.ground.warn(format!(
                    "containers are in the agent's control group: {error}"
                ));
                self.remove_groups(&record.id);
                Ok(())
            }
        }
    }

    /// Puts another command of a container where the container is; where that fails, there is no such command.
    pub(super) fn join_groups(&self, id: &str, command: ProcessId) -> Result<(), MakeCgroup> {
        let joined = cgroup::enter(&self.groups(id), command.pid);
        if joined.is_err() {
            let _ = command.signal(SIGKILL);
        }
        joined
    }

    pub(super) fn remove_groups(&self, id: &str) {
        let stay = cgroup::remove(&self.groups(id));
        if stay.is_empty() {
            // It goes with its directory otherwise.
            let _ = std::fs::remove_file(self.groups_file(id));
        }
        for (path, error) in stay {
            let path = path.display();
            tracing::warn!(container = id, %path, %error, "a control group stays; rmdir removes it when its processes are gone");
        }
    }

    fn groups(&self, id: &str) -> Vec<PathBuf> {
        let text = std::fs::read_to_string(self.groups_file(id)).unwrap_or_default();
        text.lines().map(PathBuf::from).collect()
    }

    fn groups_file(&self, id: &str) -> PathBuf {
        self.dir(id).join("cgroups")
    }
}

fn to_text(paths: &[PathBuf]) -> String {
    let lines = paths.iter().map(|path| format!("{}\n", path.display()));
    lines.collect()
}
