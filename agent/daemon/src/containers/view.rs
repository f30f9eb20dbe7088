//! What the API shows of containers.

use std::sync::atomic::Ordering;

use agent_api::{ApiError, ContainerDetail, ContainerState, ContainerSummary};
use agent_container::attach::SOCKET_FILE;
use agent_container::{log, read_exit};
use agent_core::network::VlanWords;
use agent_core::record::{Owner, Phase};

use super::spec::capabilities;
use super::{Container, Containers};
use crate::endpoints::sandbox_of;
use crate::locks::lock;

impl Containers {
    /// How many are in each state, and how many were started again by themselves since the agent started.
    pub(crate) fn counts(&self) -> ([(&'static str, usize); 3], u64) {
        let table = lock(&self.table);
        let count = |is_such: fn(&Phase) -> bool| {
            let phases = table.values().map(|container| &container.record.phase);
            phases.filter(|phase| is_such(phase)).count()
        };
        let states = [
            ("created", count(|phase| matches!(phase, Phase::Created))),
            ("running", count(|phase| matches!(phase, Phase::Running))),
            ("exited", count(|phase| matches!(phase, Phase::Exited(_)))),
        ];
        (states, self.restarts.load(Ordering::Relaxed))
    }

    /// All containers, the exited ones too, the newest first.
    pub(crate) fn list(&self) -> Vec<ContainerSummary> {
        let present = self
            .all()
            .into_iter()
            .filter_map(|seen| self.as_ended(seen));
        let mut summaries: Vec<_> = present.map(|container| self.summary(&container)).collect();
        summaries.sort_by(|one, other| {
            other
                .created_s
                .cmp(&one.created_s)
                .then_with(|| one.name.cmp(&other.name))
        });
        summaries
    }

    pub(crate) fn inspect(&self, called: &str) -> Result<ContainerDetail, ApiError> {
        let container = self.as_ended(self.find(called)?);
        let container =
            container.ok_or_else(|| agent_core::find::Find::NoContainer(called.to_owned()))?;
        let record = &container.record;
        let endpoints = match container.has_ended() {
            true => Vec::new(),
            false => self.endpoints.of(&Owner::Container(record.id.clone())),
        };
        let dir = self.dir(&record.id);
        Ok(ContainerDetail {
            summary: self.summary(&container),
            hostname: record.hostname.clone(),
            network_mode: record.create.network.clone(),
            capabilities: capabilities(&record.create).unwrap_or_default().names(),
            privileged: record.create.privileged,
            restart: record.create.restart,
            restarts: record.restart.count,
            memory: record.create.memory,
            nano_cpus: record.create.nano_cpus,
            pids: record.create.pids,
            endpoints: endpoints
                .iter()
                .map(|(place, attached)| attached.detail(&place.record))
                .collect(),
            sandbox: container.init_pid.map(sandbox_of),
            attach: dir.join(SOCKET_FILE),
            log: dir.join(log::FILE),
        })
    }

    /// The container as it is though nobody has cleaned up after its end yet; nothing where it was to be removed then.
    fn as_ended(&self, mut container: Container) -> Option<Container> {
        if container.runs()
            && let Ok(Some(exit)) = read_exit(&self.dir(&container.record.id))
        {
            container.record.phase = Phase::Exited(exit.code);
            container.init_pid = None;
        }
        let goes = container.has_ended() && container.record.create.remove;
        (!goes).then_some(container)
    }

    fn summary(&self, container: &Container) -> ContainerSummary {
        let record = &container.record;
        let on = match container.has_ended() {
            true => Vec::new(),
            false => self.endpoints.of(&Owner::Container(record.id.clone())),
        };
        let cut_off = on
            .iter()
            .find_map(|(place, attached)| attached.cut_off.clone().or_else(|| place.why_cut_off()));
        let vlans = on.iter().filter_map(|(place, attached)| {
            let vlans = place.record.vlans_of(&attached.record)?;
            Some((place.record.name.clone(), VlanWords(&vlans).to_string()))
        });
        let vlans = vlans.collect();
        let mut networks: Vec<_> = on
            .into_iter()
            .map(|(place, _)| (place.record.id.clone(), place.record.name.clone()))
            .collect();
        networks.sort();
        ContainerSummary {
            id: record.id.clone(),
            name: record.name.clone(),
            command: record.create.command.clone(),
            state: match (record.phase, container.init_pid) {
                (Phase::Exited(code), _) => ContainerState::Exited { code },
                (Phase::Running, Some(pid)) => ContainerState::Running { pid },
                (Phase::Created | Phase::Running, _) => ContainerState::Created,
            },
            created_s: record.created_s,
            since_s: record.since_s,
            publish: record.ports(),
            networks: networks.into_iter().map(|(_, name)| name).collect(),
            vlans,
            labels: record.create.labels.clone(),
            restarting: container.restarting.is_some(),
            cut_off,
        }
    }
}
