//! At the start: what the records say, against what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use agent_api::ApiError;

use super::Agent;
use super::dns::share_zones;
use super::endpoint::{bury_link, open_sandbox, sandbox_of};
use super::state::{Container, Network, State, leads_to};
use crate::container::{read_exit, supervised};
use crate::ipam::Pools;
use crate::name::short;
use crate::netlink::{Netns, NetnsId};
use crate::record::{
    CONTAINERS, ContainerRecord, ENDPOINTS, EndpointRecord, NETWORKS, NetworkRecord, Owner,
    PATCHES, PatchRecord, Phase, SERVICES, endpoint_key,
};
use crate::store::StoreError;
use agent_core::endpoint::{Attach, Past};
use agent_core::network::CreateNetwork;

impl Agent {
    /// Raises every network again, takes back the containers that still run, and settles what ended meanwhile.
    pub(super) fn reconcile(self: &Arc<Self>) -> Result<(), ApiError> {
        let mut state = self.state();
        state.settings = self.known_settings().map_err(failed)?;
        state.underlay.services = self
            .store
            .get(SERVICES)
            .map_err(failed)?
            .unwrap_or_default();
        for record in self.records::<NetworkRecord>(NETWORKS)? {
            self.restore_network(&mut state, record)?;
        }
        for patch in self.records::<PatchRecord>(PATCHES)? {
            self.restore_patch(&mut state, patch);
        }
        self.open_host_ports(&mut state);
        self.add_predefined(&mut state)?;
        self.share_private_names(&state);
        let records = self.records::<ContainerRecord>(CONTAINERS)?;
        let ids: Vec<_> = records.iter().map(|record| record.id.clone()).collect();
        for record in records {
            self.restore_container(&mut state, record);
        }
        let mut endpoints = self.records::<EndpointRecord>(ENDPOINTS)?;
        endpoints.sort_by_key(|record| record.rank);
        let ways = ways(&endpoints);
        for record in endpoints {
            self.restore_endpoint(&mut state, record, &ways);
        }
        for owner in owners(&state) {
            share_zones(&state, &owner);
        }
        for id in ids {
            self.resume(&mut state, &id);
        }
        Ok(())
    }

    fn restore_network(&self, state: &mut State, record: NetworkRecord) -> Result<(), ApiError> {
        let pools = Pools::of(&record).map_err(CreateNetwork::from)?;
        let segment = match record
            .has_bridge()
            .then(|| self.raise_segment(&mut state.tunnels, &record))
            .transpose()
        {
            Ok(segment) => segment,
            Err(why) => {
                self.warn(format!("network {:?} is down: {why}", record.name));
                None
            }
        };
        state.networks.insert(
            record.id.clone(),
            Network {
                record,
                pools,
                past: Past::unknown(),
                segment,
                closed: None,
                endpoints: Default::default(),
            },
        );
        Ok(())
    }

    fn restore_container(&self, state: &mut State, record: ContainerRecord) {
        let living = supervised(&self.container_dir(&record.id))
            .ok()
            .flatten()
            .filter(|found| found.shim.is_alive());
        let init_pid = living.map(|found| found.init.pid);
        state.containers.insert(
            record.id.clone(),
            Container {
                record,
                init_pid,
                published: Default::default(),
            },
        );
    }

    fn restore_endpoint(
        &self,
        state: &mut State,
        mut record: EndpointRecord,
        ways: &BTreeMap<NetnsId, PathBuf>,
    ) {
        let sandbox = match &record.owner {
            Owner::Container(id) => state
                .containers
                .get(id)
                .and_then(|container| container.init_pid)
                .map(sandbox_of),
            Owner::Sandbox(sandbox) => {
                record.sandbox = ways.get(sandbox).cloned();
                record.sandbox.clone()
            }
        };
        let netns = sandbox.and_then(|path| open_sandbox(&path).ok());
        let restored = netns.is_some_and(|netns| match record.moved.clone() {
            None => self.replug(state, &record, &netns),
            Some(moved) => self.follow_link(state, record.clone(), &moved),
        });
        if !restored && let Err(error) = self.store.delete(&endpoint_key(&record.id)) {
            tracing::warn!(endpoint = short(&record.id), %error, "an endpoint's record stays until the next start");
        }
    }

    fn replug(&self, state: &mut State, record: &EndpointRecord, netns: &Netns) -> bool {
        let Some(network) = self.claim_addresses(state, record) else {
            return false;
        };
        match self.plug_again(network, record, netns) {
            Ok(()) => true,
            Err(error) => {
                self.warn(format!(
                    "endpoint {:?} does not come back: {error}",
                    record.name
                ));
                network.pools.release(record);
                false
            }
        }
    }

    /// Makes the link where a former one was.
    pub(super) fn plug_again(
        &self,
        network: &mut Network,
        record: &EndpointRecord,
        netns: &Netns,
    ) -> Result<(), Attach> {
        bury_link(record, netns);
        let endpoint = self.plug(network, record, netns)?;
        network.endpoints.insert(record.id.clone(), endpoint);
        Ok(())
    }

    /// Takes the addresses that the endpoint had, in its network.
    pub(super) fn claim_addresses<'a>(
        &self,
        state: &'a mut State,
        record: &EndpointRecord,
    ) -> Option<&'a mut Network> {
        let network = state.networks.get_mut(&record.network)?;
        if let Err(error) = network.pools.take_back(record) {
            tracing::warn!(endpoint = record.name, %error, "an endpoint does not come back");
            return None;
        }
        Some(network)
    }

    /// Goes on with a container that runs; ends one that does not.
    fn resume(self: &Arc<Self>, state: &mut State, id: &str) {
        let Some(container) = state.containers.get(id) else {
            return;
        };
        match (container.record.phase, container.init_pid) {
            (Phase::Exited(_), _) => {}
            (Phase::Created | Phase::Running, Some(_)) => {
                self.follow_addresses(state, &Owner::Container(id.to_owned()));
                self.watch(id.to_owned());
            }
            (Phase::Created | Phase::Running, None) => {
                let code = read_exit(&self.container_dir(id))
                    .ok()
                    .flatten()
                    .map_or(EXIT_UNKNOWN, |exit| exit.code);
                self.ended(state, id, code);
            }
        }
    }

    fn records<T: serde::de::DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, ApiError> {
        self.store.list(prefix).map_err(failed)
    }
}

fn failed(error: StoreError) -> ApiError {
    ApiError::new(agent_api::ErrorKind::Failed, error.to_string())
}

/// A path to each sandbox of somebody else that is still there, among those by which it is known. A namespace that took the
/// place of a sandbox while no agent ran is another one.
fn ways(records: &[EndpointRecord]) -> BTreeMap<NetnsId, PathBuf> {
    let known = records.iter().filter_map(|record| match &record.owner {
        Owner::Sandbox(sandbox) => Some((*sandbox, record.sandbox.clone()?)),
        Owner::Container(_) => None,
    });
    known
        .filter(|(sandbox, path)| leads_to(path, *sandbox))
        .collect()
}

fn owners(state: &State) -> BTreeSet<Owner> {
    let networks = state.networks.values();
    let endpoints = networks.flat_map(|network| network.endpoints.values());
    endpoints
        .map(|endpoint| endpoint.record.owner.clone())
        .collect()
}

/// The supervisor died without a word: what SIGKILL leaves, 128 + 9.
const EXIT_UNKNOWN: i32 = 137;
