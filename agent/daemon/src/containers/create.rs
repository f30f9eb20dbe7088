//! New containers: planned, on record, made. The command waits for its start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agent_api::{ApiError, ContainerCreate, Created, ErrorKind};
use agent_container::attach::SOCKET_FILE;
use agent_core::container::{CreateContainer, Fresh, networks_called, plan};
use agent_core::events::Notice;
use agent_core::find::{Find, find};
use agent_core::record::{ContainerRecord, container_key};

use super::hold::{Hold, Holder, hold};
use super::spec::{check_host_side, seconds_since_epoch};
use super::{Container, Containers};
use crate::locks::lock;
use crate::random::new_id;

impl Containers {
    pub(crate) fn create(self: &Arc<Self>, request: ContainerCreate) -> Result<Created, ApiError> {
        self.past_ends(|| self.create_once(request.clone(), None))
    }

    /// A container that is there as long as the hold is, until somebody starts it.
    pub(crate) fn create_held(
        self: &Arc<Self>,
        request: ContainerCreate,
    ) -> Result<(Created, Hold), ApiError> {
        let (holder, over) = hold();
        let created = self.past_ends(|| self.create_once(request.clone(), Some(holder.clone())))?;
        let hold = Hold::new(Arc::clone(self), created.id.clone(), over);
        Ok((created, hold))
    }

    /// What stands in the way of an act may be held by a container that has ended a moment ago: then it is cleaned up after, and
    /// the act is tried once more; also where that was done by others meanwhile.
    pub(crate) fn past_ends<T>(
        self: &Arc<Self>,
        act: impl Fn() -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let before = self.freed.load(Ordering::Relaxed);
        match act() {
            Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::Exhausted) => {
                let settled = self.settle_all();
                match settled || self.freed.load(Ordering::Relaxed) != before {
                    true => act(),
                    false => Err(error),
                }
            }
            done => done,
        }
    }

    fn create_once(
        self: &Arc<Self>,
        request: ContainerCreate,
        holder: Option<Holder>,
    ) -> Result<Created, ApiError> {
        check_host_side(&request)?;
        let id = new_id();
        let turn = self.turns.take(id.clone());
        let called = networks_called(&request);
        let networks: BTreeMap<_, _> = called
            .filter_map(|called| Some((called.to_owned(), self.networks.find(called).ok()?.record)))
            .collect();
        let (record, kept) = {
            let mut table = lock(&self.table);
            let fresh = Fresh {
                id,
                now_s: seconds_since_epoch(),
            };
            let mut record = plan(
                request,
                |name| table.values().any(|other| other.record.name == name),
                |called| match networks.get(called) {
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
            record.held = holder.is_some();
            let made = Container {
                record: record.clone(),
                run: 0,
                init_pid: None,
                begins: false,
                is_ending: false,
                restarting: None,
                holder,
            };
            table.insert(record.id.clone(), made);
            let journal = &self.ground.journal;
            let kept = journal.put(&container_key(&record.id), &record);
            (record, kept)
        };
        self.tell(Notice::container(&record, "create"));
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
}

pub(super) fn host_failure(record: &ContainerRecord, error: &dyn std::fmt::Display) -> ApiError {
    CreateContainer {
        name: record.name.clone(),
        why: error.to_string(),
    }
    .into()
}
