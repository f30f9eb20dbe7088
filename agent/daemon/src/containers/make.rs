//! Making containers: namespaces, links, settings, files, published ports.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use agent_api::{ApiError, EndpointSettings, ErrorKind, PortMapping};
use agent_core::container::{PlanContainer, attached_network, sysctl_paths};
use agent_core::endpoint::Attachment;
use agent_core::hosts::hosts;
use agent_core::port_choice::Choosing;
use agent_core::publish::PublishPorts;
use agent_core::record::{ContainerRecord, Owner};
use agent_host::sysctl::{SetInside, set_inside};

use super::create::host_failure;
use super::{Containers, OwnTurn};
use crate::endpoints::{open_sandbox, sandbox_of};
use crate::journal::Kept;
use crate::locks::lock;
use crate::networks::Place;
use crate::publishing::Keeper;

impl Containers {
    /// Namespaces, control groups, links, settings, files, published ports. What is made of a failure is the caller's to take away.
    pub(super) fn make(&self, turn: &OwnTurn, record: &ContainerRecord) -> Result<(), ApiError> {
        let spec = self.spec(record)?;
        let dir = self.dir(&record.id);
        let running = self
            .shims
            .spawn(&dir, &spec)
            .map_err(|error| host_failure(record, &error))?;
        let pid = running.init.pid;
        if let Some(container) = lock(&self.table).get_mut(&record.id) {
            container.init_pid = Some(pid);
        }
        self.enter_groups(record, pid)?;
        if let Some(network) = attached_network(&record.create.network) {
            let place = self.networks.find(network)?;
            self.attach(turn, record, pid, &place, &record.create.endpoint)?;
            self.attach_further(turn, record, pid)?;
            self.name_itself(record)?;
        }
        self.set_sysctls(record, pid)?;
        self.publish(record)
    }

    /// To the networks that it is connected to besides, where they are still there.
    fn attach_further(
        &self,
        turn: &OwnTurn,
        record: &ContainerRecord,
        pid: i32,
    ) -> Result<(), ApiError> {
        for (network, settings) in &record.connected {
            match self.networks.place(network) {
                Some(place) => drop(self.attach(turn, record, pid, &place, settings)?),
                None => tracing::warn!(container = record.name, network, "network is gone"),
            }
        }
        Ok(())
    }

    /// In the container's `hosts`, now that it has addresses.
    fn name_itself(&self, record: &ContainerRecord) -> Result<(), ApiError> {
        let endpoints = self.endpoints.of(&Owner::Container(record.id.clone()));
        let addresses: Vec<_> = endpoints
            .iter()
            .flat_map(|(_, attached)| attached.record.addresses())
            .collect();
        let added = self.added_hosts(&record.create);
        let hosts = hosts(&addresses, &record.hostname, &added);
        write_over(&self.dir(&record.id).join("hosts"), &hosts)
            .map_err(|error| host_failure(record, &error))
    }

    /// After the links are there, which have settings too.
    fn set_sysctls(&self, record: &ContainerRecord, pid: i32) -> Result<(), ApiError> {
        let settings = sysctl_paths(&record.create.sysctls).map_err(PlanContainer::from)?;
        if settings.is_empty() {
            return Ok(());
        }
        let sandbox = open_sandbox(&sandbox_of(pid))?;
        set_inside(&sandbox, &settings).map_err(|error| match error {
            SetInside::Set { .. } => ApiError::new(
                ErrorKind::Invalid,
                format!("container {:?}: {error}", record.name),
            ),
            SetInside::Enter(_) => host_failure(record, &error),
        })
    }

    fn publish(&self, record: &ContainerRecord) -> Result<(), ApiError> {
        if record.ports().is_empty() {
            return Ok(());
        }
        let published = match self.publish_as_before(record) {
            Some(published) => published,
            None => self.publish_free(record)?,
        };
        let kept = self.change(&record.id, |container| {
            container.record.published = published
        });
        let kept = kept.map_or(Ok(()), Kept::wait);
        kept.map_err(|error| host_failure(record, &error))
    }

    /// The ports that it had in its last run, if they are all to be had.
    fn publish_as_before(&self, record: &ContainerRecord) -> Option<Vec<PortMapping>> {
        let before = record.published.clone();
        let had_any = !before.is_empty();
        had_any.then(|| self.publish_all(record, before).ok())?
    }

    /// What was asked for, with the first free port of each range of which one is enough.
    fn publish_free(&self, record: &ContainerRecord) -> Result<Vec<PortMapping>, PublishPorts> {
        let mut choosing = Choosing::new(&record.create.publish_one_of);
        loop {
            let fixed = record.create.publish.iter().cloned();
            let asked = fixed.chain(choosing.mappings()).collect();
            match self.publish_all(record, asked) {
                Err(PublishPorts::Taken { run, .. } | PublishPorts::Refused { run, .. })
                    if choosing.go_on(&run) => {}
                outcome => return outcome,
            }
        }
    }

    fn publish_all(
        &self,
        record: &ContainerRecord,
        mappings: Vec<PortMapping>,
    ) -> Result<Vec<PortMapping>, PublishPorts> {
        let targets = self.endpoints.targets(&Owner::Container(record.id.clone()));
        let publisher = (&*record.id, &*record.name);
        self.publishing
            .publish(publisher, Keeper::Agent, mappings, targets)
    }

    pub(super) fn attach(
        &self,
        turn: &OwnTurn,
        record: &ContainerRecord,
        pid: i32,
        place: &Place,
        settings: &EndpointSettings,
    ) -> Result<String, ApiError> {
        let publish = record.ports();
        let own = || record.create.labels.clone();
        let settings = &EndpointSettings {
            labels: Some(settings.labels.clone().unwrap_or_else(own)),
            ..settings.clone()
        };
        let attachment = Attachment {
            owner: Owner::Container(turn.about().clone()),
            path: None,
            name: &record.name,
            hostname: Some(&record.hostname),
            dns: &record.create.dns,
            publish: &publish,
            ports_reserved: false,
            link: settings.ifname.as_deref(),
            settings,
        };
        let netns = open_sandbox(&sandbox_of(pid))?;
        Ok(self.endpoints.attach(place, &attachment, &netns)?)
    }
}

/// Changes what is in a file that the container has mounted already. File systems that write a file out at once where it was emptied
/// before, as ext4 does, have no reason to.
fn write_over(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))
}
