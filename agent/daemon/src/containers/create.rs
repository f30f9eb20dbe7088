//! Making containers: namespaces, link, published ports, files. The command waits for its start.

use std::sync::Arc;

use agent_api::{ApiError, ContainerCreate, Created, EndpointSettings, ErrorKind};
use agent_container::attach::SOCKET_FILE;
use agent_core::container::{CreateContainer, Fresh, attached_network, plan};
use agent_core::endpoint::Attachment;
use agent_core::find::{Find, find};
use agent_core::hosts::hosts;
use agent_core::record::{ContainerRecord, Owner, container_key};

use super::spec::{check_host_side, seconds_since_epoch};
use super::{Container, Containers, OwnTurn};
use crate::endpoints::{open_sandbox, sandbox_of};
use crate::locks::lock;
use crate::networks::Place;
use crate::publishing::Keeper;
use crate::random::new_id;

impl Containers {
    pub(crate) fn create(self: &Arc<Self>, request: ContainerCreate) -> Result<Created, ApiError> {
        self.past_ends(|| self.create_once(request.clone()))
    }

    /// What stands in the way of an act may be held by a container that has ended a moment ago: then it is cleaned up after, and
    /// the act is tried once more.
    pub(crate) fn past_ends<T>(
        &self,
        act: impl Fn() -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        match act() {
            Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::Exhausted) => {
                match self.settle_all() {
                    true => act(),
                    false => Err(error),
                }
            }
            done => done,
        }
    }

    fn create_once(self: &Arc<Self>, request: ContainerCreate) -> Result<Created, ApiError> {
        check_host_side(&request)?;
        let id = new_id();
        let turn = self.turns.take(id.clone());
        let network = attached_network(&request.network);
        let network = network.and_then(|called| self.networks.find(called).ok());
        let network = network.map(|place| place.record);
        let (record, kept) = {
            let mut table = lock(&self.table);
            let fresh = Fresh {
                id,
                now_s: seconds_since_epoch(),
            };
            let record = plan(
                request,
                |name| table.values().any(|other| other.record.name == name),
                |called| match &network {
                    Some(record) => Ok(&**record),
                    None => Err(self.networks.why_not(called)),
                },
                |called| {
                    let others = table.values().map(|other| &other.record);
                    let others = others.map(|other| (other.id.as_str(), other.name.as_str()));
                    let found = find(others, called)?;
                    found
                        .map(drop)
                        .ok_or_else(|| Find::NoContainer(called.to_owned()))
                },
                fresh,
            )?;
            let made = Container {
                record: record.clone(),
                init_pid: None,
                is_ending: false,
            };
            table.insert(record.id.clone(), made);
            let journal = &self.ground.journal;
            let kept = journal.put(&container_key(&record.id), &record);
            (record, kept)
        };
        let made = kept
            .wait()
            .map_err(|error| host_failure(&record, &error))
            .and_then(|()| self.make(&turn, &record));
        if let Err(error) = made {
            self.discard(&turn);
            return Err(error);
        }
        let (id, name) = (record.id, record.name);
        tracing::info!(container = name, id, "container made");
        self.watch(id.clone());
        let attach = self.dir(&id).join(SOCKET_FILE);
        Ok(Created { id, name, attach })
    }

    /// Namespaces, link, published ports, files. What is made of a failure is the caller's to take away.
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
        let Some(network) = attached_network(&record.create.network) else {
            return Ok(());
        };
        let place = self.networks.find(network)?;
        let endpoint = self.attach(turn, record, pid, &place, &record.create.endpoint)?;
        let addresses = place.seats.get(&endpoint);
        let addresses = addresses.map_or_else(Vec::new, |attached| attached.record.addresses());
        let hosts = hosts(&addresses, &record.hostname);
        std::fs::write(dir.join("hosts"), hosts).map_err(|error| host_failure(record, &error))?;
        self.publish(record)
    }

    fn publish(&self, record: &ContainerRecord) -> Result<(), ApiError> {
        let asked = record.create.publish.clone();
        if asked.is_empty() {
            return Ok(());
        }
        let targets = self.endpoints.targets(&Owner::Container(record.id.clone()));
        let published =
            self.publishing
                .publish((&record.id, &record.name), Keeper::Agent, asked, targets)?;
        let kept = self.change(&record.id, |container| {
            container.record.create.publish = published;
        });
        let kept = kept.map_or(Ok(()), crate::journal::Kept::wait);
        kept.map_err(|error| host_failure(record, &error))
    }

    pub(super) fn attach(
        &self,
        turn: &OwnTurn,
        record: &ContainerRecord,
        pid: i32,
        place: &Place,
        settings: &EndpointSettings,
    ) -> Result<String, ApiError> {
        let attachment = Attachment {
            owner: Owner::Container(turn.about().clone()),
            path: None,
            name: &record.name,
            hostname: Some(&record.hostname),
            dns: &record.create.dns,
            publish: &record.create.publish,
            ports_reserved: false,
            link: None,
            settings,
        };
        let netns = open_sandbox(&sandbox_of(pid))?;
        Ok(self.endpoints.attach(place, &attachment, &netns)?)
    }
}

pub(super) fn host_failure(record: &ContainerRecord, error: &dyn std::fmt::Display) -> ApiError {
    CreateContainer {
        name: record.name.clone(),
        why: error.to_string(),
    }
    .into()
}
