//! Taking networks away. Teardown goes on after a failure and reports all of it.

use agent_api::{ApiError, Pruned, Unpruned};
use agent_cluster::{ENDPOINTS, EndpointShared, Member};
use agent_core::events::Notice;
use agent_core::network::{RemoveNetwork, Teardown, is_predefined};
use agent_core::record::{NetworkRecord, blocks_key, network_key};

use super::segment::Segment;
use super::{Networks, Place, Stage, Ways};
use crate::locks::lock;
use crate::seats::Users;
use crate::sharing::directory::id_shared;
use crate::sharing::networks::unshare_network;

impl Networks {
    pub(crate) fn remove(&self, called: &str) -> Result<(), ApiError> {
        let id = lock(&self.table).id(called)?;
        Ok(self.remove_unused(&id)?)
    }

    /// Removes the networks that nobody uses. Those that cannot be removed stay, each with the reason.
    pub(crate) fn prune(&self) -> Pruned {
        let mut pruned = Pruned::default();
        for place in self.places() {
            let record = &place.record;
            let joined = !self.patched_to(&record.id).is_empty();
            if is_predefined(&record.name) || joined || !place.seats.are_free() {
                continue;
            }
            match self.remove_unused(&record.id) {
                Ok(()) => pruned.networks.push(record.name.clone()),
                // Somebody came, or it is used on another host.
                Err(RemoveNetwork::InUse { .. } | RemoveNetwork::InUseElsewhere { .. }) => {}
                Err(error) => pruned.failed.push(Unpruned {
                    network: record.name.clone(),
                    why: error.to_string(),
                }),
            }
        }
        pruned
    }

    fn remove_unused(&self, id: &str) -> Result<(), RemoveNetwork> {
        let _turn = self.turns.take(id.to_owned());
        let Some(place) = self.place(id) else {
            return Ok(());
        };
        let record = &place.record;
        let name = record.name.clone();
        if is_predefined(&name) {
            return Err(RemoveNetwork::Predefined(name));
        }
        if let Some(other) = self.patched_to(id).into_iter().next() {
            return Err(RemoveNetwork::Patched { name, other });
        }
        self.close(&place).map_err(|users| in_use(name, &users))?;
        if let Err(error) = self.take_from_cluster(record) {
            self.reopen(&place);
            return Err(error);
        }
        self.end(&place)
    }

    /// The network takes no endpoints from now on, and nobody finds it.
    pub(super) fn close(&self, place: &Place) -> Result<(), Users> {
        place.seats.close()?;
        self.set_stage(&place.record.id, Stage::Leaving);
        Ok(())
    }

    fn reopen(&self, place: &Place) {
        place.seats.reopen();
        self.set_stage(&place.record.id, Stage::Up);
    }

    pub(super) fn set_stage(&self, id: &str, stage: Stage) {
        self.change(id, |network| network.stage = stage);
    }

    pub(super) fn end(&self, place: &Place) -> Result<(), RemoveNetwork> {
        let record = &place.record;
        let left = self.take_apart(record);
        self.tell(Notice::network(record, "destroy"));
        tracing::info!(network = record.name, id = record.id, "network removed");
        self.keep_names(&record.id);
        match left.is_empty() {
            true => Ok(()),
            false => Err(RemoveNetwork::Teardown {
                name: record.name.clone(),
                left,
            }),
        }
    }

    /// Takes whatever there is of a network away, in its turn. Returns what could not be taken.
    pub(super) fn take_apart(&self, record: &NetworkRecord) -> Vec<Teardown> {
        let mut left = Vec::new();
        let parts = self.change(&record.id, |network| {
            (std::mem::take(&mut network.ways), network.segment.take())
        });
        if let Some((ways, segment)) = parts {
            self.lower(&record.id, &ways, segment.as_deref());
        }
        if let Some(network) = id_shared(record) {
            self.sharing.forget_network(network);
        }
        if self.filter.drop_network(&record.id)
            && let Err(error) = self.filter.settle()
        {
            left.push(Teardown::Rules(error.to_string()));
        }
        self.forget_mirrors(&record.id);
        self.forget_stations(&record.id);
        self.forget_acl(&record.id);
        let forgotten = {
            let mut table = lock(&self.table);
            table.networks.remove(&record.id);
            self.ground.journal.forget(&network_key(&record.id))
        };
        if record.shared().is_some() {
            drop(self.ground.journal.forget(&blocks_key(&record.id)));
        }
        if let Err(error) = forgotten.wait() {
            left.push(Teardown::Record(error.to_string()));
        }
        left
    }

    /// Takes the ports away that are not endpoints'.
    fn lower(&self, id: &str, ways: &Ways, segment: Option<&Segment>) {
        for tunnel in ways.tunnels.values() {
            self.sharing.tunnels.close(&tunnel.port);
        }
        for patch in ways.patches.values() {
            self.ground.switch.remove_port(patch.port);
        }
        if let Some(uplink) = &ways.uplink {
            self.ground.switch.remove_port(uplink.port);
        }
        if let Some(host) = &ways.host {
            drop(self.drop_host_port(id, host));
        }
        if let Some(segment) = segment {
            segment.lower(&self.ground);
        }
    }

    /// At the end of the agent, where nothing is attached: all ports go, the records stay.
    pub(crate) fn leave(&self) {
        let networks = {
            let mut table = lock(&self.table);
            table.is_left = true;
            std::mem::take(&mut table.networks)
        };
        for network in networks.into_values() {
            let id = &network.record.id;
            self.lower(id, &network.ways, network.segment.as_deref());
        }
    }

    /// A network of the cluster goes from all hosts, unless one uses it.
    fn take_from_cluster(&self, record: &NetworkRecord) -> Result<(), RemoveNetwork> {
        let (Some(_), Some(member)) = (record.shared(), self.sharing.member()) else {
            return Ok(());
        };
        let name = record.name.clone();
        let failed = |why: String| RemoveNetwork::OutOfStep {
            name: name.clone(),
            why,
        };
        if member.steady_session().is_none() {
            return Err(failed("etcd is out of reach".to_owned()));
        }
        let users = users_elsewhere(&member, record);
        if !users.is_empty() {
            return Err(RemoveNetwork::InUseElsewhere {
                name,
                users: users.join(", "),
            });
        }
        unshare_network(&member, record).map_err(|error| failed(error.to_string()))
    }
}

fn in_use(name: String, users: &Users) -> RemoveNetwork {
    RemoveNetwork::InUse {
        name,
        users: users.to_string(),
    }
}

fn users_elsewhere(member: &Member, record: &NetworkRecord) -> Vec<String> {
    let prefix = format!("{ENDPOINTS}{}/", record.id);
    let world = member.world();
    let users = world.under::<EndpointShared>(&prefix);
    users
        .filter(|(_, shared)| shared.host != member.host())
        .map(|(_, shared)| shared.name)
        .take(Users::SHOWN_MAX)
        .collect()
}
