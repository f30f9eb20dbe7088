//! Networks: made, looked at, removed.

use std::collections::BTreeSet;

use agent_api::{
    ApiError, Driver, FdbEntryView, NetworkCreate, NetworkDetail, NetworkSummary, PortView, Pruned,
};

use super::overlay::{local_address, quic_mtu, vxlan_mtu};
use super::state::{Network, State};
use super::{Agent, view};
use crate::cluster::{ENDPOINTS, EndpointShared, Member};
use crate::firewall::{Drops, Firewall};
use crate::ipam::{Pools, SubnetInUse, default_pools_v6};
use crate::netlink::{Netlink, NetlinkError, SubnetEntry};
use crate::random::new_id;
use crate::record::{Encap, NetworkRecord, OverlayRecord, Owner, network_key};
use agent_core::endpoint::Past;
use agent_core::network::{
    self, OverlayWish, PREDEFINED, Surroundings, check_vni, is_predefined, without_segment,
};
use agent_core::network::{CreateNetwork, RemoveNetwork};

impl Agent {
    pub(crate) fn networks(&self) -> Vec<NetworkSummary> {
        let mut summaries: Vec<_> = self
            .state()
            .networks
            .values()
            .map(view::present_summary)
            .collect();
        summaries.sort_by(|one, other| one.name.cmp(&other.name));
        summaries
    }

    pub(crate) fn inspect_network(&self, called: &str) -> Result<NetworkDetail, ApiError> {
        let filtered = self.filtered();
        let state = self.state();
        let network = state.network(called)?;
        let mut detail = view::network_detail(&self.switch, &state.tunnels, network);
        let link = network.record.host_link();
        detail.drops.extend(view::filter_drops(&filtered, &link));
        detail.patches = state.patched_to(&network.record.id);
        Ok(detail)
    }

    pub(crate) fn fdb(&self, called: &str) -> Result<Vec<FdbEntryView>, ApiError> {
        let state = self.state();
        Ok(view::fdb(self.switch.now(), state.network(called)?))
    }

    pub(crate) fn flush_fdb(&self, called: &str, port: Option<u32>) -> Result<(), ApiError> {
        let state = self.state();
        let Some(segment) = &state.network(called)?.segment else {
            return Ok(());
        };
        let ports = segment.bridge.ports();
        let flushed = ports
            .into_iter()
            .filter(|id| port.is_none_or(|port| id.0 == port));
        for port in flushed {
            segment.bridge.fdb().flush_learned(port);
        }
        Ok(())
    }

    pub(crate) fn ports(&self, called: &str) -> Result<Vec<PortView>, ApiError> {
        let filtered = self.filtered();
        let state = self.state();
        let mut ports = view::ports(&self.switch, state.network(called)?);
        for port in &mut ports {
            if let Some(link) = &port.link {
                port.drops.extend(view::filter_drops(&filtered, link));
            }
        }
        Ok(ports)
    }

    /// What the packet filter dropped. Asked without the lock of the state, since it takes a process.
    fn filtered(&self) -> Drops {
        self.firewall().map(Firewall::drops).unwrap_or_default()
    }

    pub(crate) fn create_network(
        &self,
        request: NetworkCreate,
    ) -> Result<NetworkSummary, ApiError> {
        let mut state = self.state();
        if state
            .networks
            .values()
            .any(|network| network.record.name == request.name)
        {
            return Err(CreateNetwork::NameTaken(request.name).into());
        }
        let record = match OverlayWish::read(&request)? {
            None => network::plan(new_id(), request, None, &self.surroundings(&state))?,
            Some(wish) if wish.remotes.is_empty() => self.plan_global(&state, request, &wish)?,
            Some(wish) => self.plan_static(&state, request, wish)?,
        };
        let summary = view::network_summary(&record);
        let (id, shared) = (record.id.clone(), record.shared().is_some());
        let added = self.add_network(&mut state, record.clone());
        if let (true, Some(member)) = (shared, self.member()) {
            if let Err(error) = added {
                if let Err(left) = self.unshare_network(&member, &record) {
                    tracing::warn!(error = %left, "a network that was not made stays known to other hosts");
                }
                return Err(error);
            }
            if let Some(network) = state.networks.get_mut(&id) {
                self.fill_reserve(&member, network);
            }
        }
        added?;
        Ok(summary)
    }

    /// A network of all hosts of the cluster; they know it when this returns.
    fn plan_global(
        &self,
        state: &State,
        request: NetworkCreate,
        wish: &OverlayWish,
    ) -> Result<NetworkRecord, CreateNetwork> {
        let member = self.member().ok_or(CreateNetwork::NoCluster)?;
        if member.session().is_none() {
            return Err(CreateNetwork::OutOfStep);
        }
        if wish.encap == Encap::Quic && state.tunnels.quic().is_none() {
            return Err(CreateNetwork::NoQuic);
        }
        if let Some(vni) = wish.vni {
            check_vni(records(state), vni)?;
        }
        let failed = |error: NetlinkError| CreateNetwork::Host {
            name: request.name.clone(),
            why: error.to_string(),
        };
        let mut around = self.surroundings_of_overlay(state, &request);
        let mut request = request.clone();
        match wish.encap {
            Encap::Vxlan => around.mtu_max = Some(vxlan_mtu(member.address()).map_err(failed)?),
            // Frames are cut on the way, so any MTU will do.
            Encap::Quic => {
                let best = quic_mtu(member.address()).map_err(failed)?;
                request.mtu = request.mtu.or(Some(best));
            }
        }
        let overlay = OverlayRecord {
            vni: wish.vni.unwrap_or_default(),
            encap: wish.encap,
            remotes: Vec::new(),
        };
        let mut record = network::plan(new_id(), request, Some(overlay), &around)?;
        self.share_network(&member, &mut record, wish.vni)?;
        Ok(record)
    }

    /// A network whose other hosts are named one by one.
    fn plan_static(
        &self,
        state: &State,
        request: NetworkCreate,
        wish: OverlayWish,
    ) -> Result<NetworkRecord, CreateNetwork> {
        let vni = wish.vni.ok_or(CreateNetwork::StaticVni)?;
        check_vni(records(state), vni)?;
        let mut mtu_max = u16::MAX;
        for remote in &wish.remotes {
            let local = local_address(*remote).ok_or(CreateNetwork::NoRoute(*remote))?;
            let mtu = vxlan_mtu(local).map_err(|error| CreateNetwork::Host {
                name: request.name.clone(),
                why: error.to_string(),
            })?;
            mtu_max = mtu_max.min(mtu);
        }
        let overlay = OverlayRecord {
            vni,
            encap: wish.encap,
            remotes: wish.remotes,
        };
        let around = Surroundings {
            mtu_max: Some(mtu_max),
            ..self.surroundings_of_overlay(state, &request)
        };
        network::plan(new_id(), request, Some(overlay), &around)
    }

    pub(crate) fn remove_network(&self, called: &str) -> Result<(), ApiError> {
        let mut state = self.state();
        let id = state.network_id(called)?;
        self.settle_network(&mut state, &id);
        let Some(network) = state.networks.get(&id) else {
            return Ok(());
        };
        let name = network.record.name.clone();
        if is_predefined(&name) {
            return Err(RemoveNetwork::Predefined(name).into());
        }
        if !network.endpoints.is_empty() {
            let mut users: Vec<_> = network
                .endpoints
                .values()
                .map(|endpoint| endpoint.record.name.as_str())
                .collect();
            users.truncate(USERS_SHOWN_MAX);
            return Err(RemoveNetwork::InUse {
                name,
                users: users.join(", "),
            }
            .into());
        }
        if let Some(other) = state.patched_to(&id).into_iter().next() {
            return Err(RemoveNetwork::Patched { name, other }.into());
        }
        let record = network.record.clone();
        self.take_from_cluster(&record)?;
        self.drop_network(&mut state, &id)
    }

    /// A network of the cluster goes from all hosts, unless one uses it.
    fn take_from_cluster(&self, record: &NetworkRecord) -> Result<(), RemoveNetwork> {
        let (Some(_), Some(member)) = (record.shared(), self.member()) else {
            return Ok(());
        };
        let name = record.name.clone();
        let failed = |why: String| RemoveNetwork::OutOfStep {
            name: name.clone(),
            why,
        };
        if member.session().is_none() {
            return Err(failed("etcd is out of reach".to_owned()));
        }
        let users = self.users_elsewhere(&member, record);
        if !users.is_empty() {
            let users = users.join(", ");
            return Err(RemoveNetwork::InUseElsewhere { name, users });
        }
        self.unshare_network(&member, record)
            .map_err(|error| failed(error.to_string()))
    }

    fn users_elsewhere(&self, member: &Member, record: &NetworkRecord) -> Vec<String> {
        let prefix = format!("{ENDPOINTS}{}/", record.id);
        let world = member.world();
        let users = world.under::<EndpointShared>(&prefix);
        users
            .filter(|(_, shared)| shared.host != member.host())
            .map(|(_, shared)| shared.name)
            .take(USERS_SHOWN_MAX)
            .collect()
    }

    pub(crate) fn prune_networks(&self) -> Result<Pruned, ApiError> {
        let mut state = self.state();
        let unused: Vec<_> = state
            .networks
            .values()
            .filter(|network| network.endpoints.is_empty() && !is_predefined(&network.record.name))
            .filter(|network| state.patched_to(&network.record.id).is_empty())
            .map(|network| network.record.clone())
            .collect();
        let mut pruned = Pruned::default();
        for record in unused {
            if self.take_from_cluster(&record).is_err() {
                continue;
            }
            self.drop_network(&mut state, &record.id)?;
            pruned.networks.push(record.name);
        }
        Ok(pruned)
    }

    /// Makes the networks that every agent has and that are not on record yet.
    pub(super) fn add_predefined(&self, state: &mut State) -> Result<(), ApiError> {
        for (name, driver) in PREDEFINED {
            if state
                .networks
                .values()
                .any(|network| network.record.name == name)
            {
                continue;
            }
            let record = if driver == Driver::Bridge {
                let request = NetworkCreate {
                    name: name.to_owned(),
                    ..NetworkCreate::default()
                };
                network::plan(new_id(), request, None, &self.surroundings(state))?
            } else {
                without_segment(new_id(), name, driver)
            };
            self.add_network(state, record)?;
        }
        Ok(())
    }

    /// Keeps the record, raises the segment, opens its host port. Nothing is left of a failure.
    pub(super) fn add_network(
        &self,
        state: &mut State,
        record: NetworkRecord,
    ) -> Result<(), ApiError> {
        let failed = |why: String| CreateNetwork::Host {
            name: record.name.clone(),
            why,
        };
        let key = network_key(&record.id);
        let pools = Pools::of(&record).map_err(CreateNetwork::from)?;
        self.store
            .put(&key, &record)
            .map_err(|error| failed(error.to_string()))?;
        let segment = match record
            .has_bridge()
            .then(|| self.raise_segment(&mut state.tunnels, &record))
            .transpose()
        {
            Ok(segment) => segment,
            Err(why) => {
                let _ = self.store.delete(&key);
                return Err(failed(why).into());
            }
        };
        let id = record.id.clone();
        let network = Network {
            record: record.clone(),
            pools,
            past: Past::none(),
            segment,
            closed: None,
            endpoints: Default::default(),
        };
        if let (Some(directory), Some(vni)) = (&mut state.directory, network.record.vni_shared()) {
            directory.attach_network(vni);
        }
        state.networks.insert(id.clone(), network);
        tracing::info!(network = record.name, id, driver = ?record.driver, "network made");
        self.share_private_names(state);
        self.open_host_ports(state);
        let closed = state
            .networks
            .get(&id)
            .and_then(|network| network.closed.clone());
        match closed {
            // It comes with every agent, and works inside.
            None => Ok(()),
            Some(_) if is_predefined(&record.name) => Ok(()),
            Some(why) => {
                self.drop_network(state, &id)?;
                Err(failed(why).into())
            }
        }
    }

    pub(super) fn drop_network(&self, state: &mut State, id: &str) -> Result<(), ApiError> {
        let Some(network) = state.networks.remove(id) else {
            return Ok(());
        };
        let name = network.record.name.clone();
        tracing::info!(network = name, id, "network removed");
        if let (Some(directory), Some(vni)) = (&mut state.directory, network.record.vni_shared()) {
            directory.detach_network(vni);
        }
        if let Some(segment) = network.segment {
            self.lower_segment(&mut state.tunnels, segment);
        }
        self.share_private_names(state);
        let firewall = match network.record.has_host_port() {
            true => self.settle_host(state),
            false => Ok(()),
        };
        let forgotten = self
            .store
            .delete(&network_key(id))
            .map_err(|error| error.to_string());
        firewall
            .and(forgotten)
            .map_err(|why| CreateNetwork::Host { name, why }.into())
    }

    /// Containers that have just ended are no users any more.
    fn settle_network(&self, state: &mut State, id: &str) {
        let owners: Vec<_> =
            state.networks.get(id).map_or_else(Vec::new, |network| {
                let owners = network.endpoints.values().filter_map(|endpoint| {
                    match &endpoint.record.owner {
                        Owner::Container(id) => Some(id.clone()),
                        Owner::Sandbox(_) => None,
                    }
                });
                owners.collect()
            });
        for owner in owners {
            self.settle(state, &owner);
        }
    }

    /// An internal network has no way to the host, so a given subnet may be another network's too.
    fn surroundings_of_overlay(&self, state: &State, request: &NetworkCreate) -> Surroundings {
        let mut around = self.surroundings(state);
        if !request.subnets.is_empty() {
            let routed = state.networks.values();
            let routed = routed.filter(|network| !network.record.internal && !request.internal);
            around.networks = routed.flat_map(in_use).collect();
        }
        around
    }

    fn surroundings(&self, state: &State) -> Surroundings {
        let pools = &self.config.address_pools;
        Surroundings {
            networks: state.networks.values().flat_map(in_use).collect(),
            host: routed_subnets(state),
            pools_v4: pools.v4.clone(),
            pools_v6: match pools.v6.as_slice() {
                [] => default_pools_v6(self.ula_global_id),
                given => given.to_vec(),
            },
            mtu_max: None,
        }
    }
}

fn in_use(network: &Network) -> Vec<SubnetInUse> {
    let subnets = network.record.subnets.iter();
    let used = subnets.map(|subnet| SubnetInUse {
        subnet: subnet.net,
        by: format!("network {:?}", network.record.name),
    });
    used.collect()
}

/// What the host routes already by links that are not the agent's; without an answer from the kernel, nothing is avoided.
fn routed_subnets(state: &State) -> Vec<SubnetEntry> {
    let segments = state
        .networks
        .values()
        .filter_map(|network| network.segment.as_ref());
    let own: BTreeSet<_> = segments
        .filter_map(|segment| Some(segment.host.as_ref()?.link.as_str()))
        .collect();
    let in_use = Netlink::open().and_then(|mut netlink| netlink.subnets_in_use());
    let mut in_use = in_use.unwrap_or_else(|error| {
        tracing::warn!(%error, "the host's routes cannot be listed; a network may overlap one");
        Vec::new()
    });
    in_use.retain(|entry| !entry.link.as_deref().is_some_and(|link| own.contains(link)));
    in_use
}

fn records(state: &State) -> impl Iterator<Item = &NetworkRecord> {
    state.networks.values().map(|network| &network.record)
}

const USERS_SHOWN_MAX: usize = 5;
