//! Networks: made, looked at, removed.

use agent_api::{
    ApiError, Driver, FdbEntryView, NetworkCreate, NetworkDetail, NetworkSummary, PortView, Pruned,
};
use ipnet::IpNet;

use super::error::{CreateNetwork, RemoveNetwork};
use super::overlay::{local_address, vxlan_mtu};
use super::plan::{DEFAULT_MTU, Surroundings, plan_network, pools};
use super::plan_overlay::OverlayWish;
use super::state::{Network, State};
use super::{Agent, view};
use crate::ipam::{SubnetInUse, default_pools_v6};
use crate::name::new_id;
use crate::netlink::Netlink;
use crate::record::{NetworkRecord, OverlayRecord, Owner, network_key};

impl Agent {
    pub(crate) fn networks(&self) -> Vec<NetworkSummary> {
        let mut summaries: Vec<_> = self
            .state()
            .networks
            .values()
            .map(|network| view::network_summary(&network.record))
            .collect();
        summaries.sort_by(|one, other| one.name.cmp(&other.name));
        summaries
    }

    pub(crate) fn inspect_network(&self, called: &str) -> Result<NetworkDetail, ApiError> {
        let state = self.state();
        Ok(view::network_detail(&self.switch, state.network(called)?))
    }

    pub(crate) fn fdb(&self, called: &str) -> Result<Vec<FdbEntryView>, ApiError> {
        let state = self.state();
        Ok(view::fdb(self.switch.now(), state.network(called)?))
    }

    pub(crate) fn ports(&self, called: &str) -> Result<Vec<PortView>, ApiError> {
        let state = self.state();
        Ok(view::ports(&self.switch, state.network(called)?))
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
            None => plan_network(request, None, &self.surroundings(&state))?,
            Some(wish) if wish.remotes.is_empty() => return Err(CreateNetwork::NoCluster.into()),
            Some(wish) => self.plan_static(&state, request, wish)?,
        };
        let summary = view::network_summary(&record);
        self.add_network(&mut state, record)?;
        Ok(summary)
    }

    /// A network whose other hosts are named one by one.
    fn plan_static(
        &self,
        state: &State,
        request: NetworkCreate,
        wish: OverlayWish,
    ) -> Result<NetworkRecord, CreateNetwork> {
        let vni = wish.vni.ok_or(CreateNetwork::StaticVni)?;
        check_vni(state, vni)?;
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
            ..self.surroundings(state)
        };
        plan_network(request, Some(overlay), &around)
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
        self.drop_network(&mut state, &id)
    }

    pub(crate) fn prune_networks(&self) -> Result<Pruned, ApiError> {
        let mut state = self.state();
        let unused: Vec<_> = state
            .networks
            .values()
            .filter(|network| network.endpoints.is_empty() && !is_predefined(&network.record.name))
            .map(|network| (network.record.id.clone(), network.record.name.clone()))
            .collect();
        let mut pruned = Pruned::default();
        for (id, name) in unused {
            self.drop_network(&mut state, &id)?;
            pruned.networks.push(name);
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
                plan_network(request, None, &self.surroundings(state))?
            } else {
                without_segment(name, driver)
            };
            self.add_network(state, record)?;
        }
        Ok(())
    }

    /// Keeps the record, raises the segment, opens the packet filter. Nothing is left of a failure.
    fn add_network(&self, state: &mut State, record: NetworkRecord) -> Result<(), ApiError> {
        let failed = |why: String| CreateNetwork::Host {
            name: record.name.clone(),
            why,
        };
        let key = network_key(&record.id);
        let (pool_v4, pool_v6) = pools(&record)?;
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
            pool_v4,
            pool_v6,
            segment,
            endpoints: Default::default(),
        };
        state.networks.insert(id.clone(), network);
        if let Err(why) = self.apply_firewall(state) {
            if is_predefined(&record.name) {
                self.warn(why);
                return Ok(());
            }
            self.drop_network(state, &id)?;
            return Err(failed(why).into());
        }
        Ok(())
    }

    fn drop_network(&self, state: &mut State, id: &str) -> Result<(), ApiError> {
        let Some(network) = state.networks.remove(id) else {
            return Ok(());
        };
        let name = network.record.name.clone();
        if let Some(segment) = network.segment {
            self.lower_segment(&mut state.tunnels, segment);
        }
        let firewall = self.apply_firewall(state);
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

    fn surroundings(&self, state: &State) -> Surroundings {
        let in_use = |network: &Network| {
            let by = format!("network {:?}", network.record.name);
            network
                .record
                .subnets
                .iter()
                .map(|subnet| SubnetInUse {
                    subnet: subnet.net,
                    by: by.clone(),
                })
                .collect::<Vec<_>>()
        };
        Surroundings {
            networks: state.networks.values().flat_map(in_use).collect(),
            host: routed_subnets(),
            pools_v6: default_pools_v6(self.ula_global_id),
            mtu_max: None,
        }
    }
}

/// What the host routes already; without an answer from the kernel, nothing is avoided.
fn routed_subnets() -> Vec<IpNet> {
    Netlink::open().and_then(|mut netlink| netlink.subnets_in_use()).unwrap_or_else(|error| {
        tracing::warn!(%error, "the host's routes cannot be listed; a default pool may overlap one");
        Vec::new()
    })
}

fn without_segment(name: &str, driver: Driver) -> NetworkRecord {
    NetworkRecord {
        id: new_id(),
        name: name.to_owned(),
        driver,
        subnets: Vec::new(),
        ip_range: None,
        internal: false,
        mtu: DEFAULT_MTU,
        dns: Vec::new(),
        options: Default::default(),
        labels: Default::default(),
        overlay: None,
    }
}

fn check_vni(state: &State, vni: u32) -> Result<(), CreateNetwork> {
    let has_it = |network: &&Network| {
        let overlay = network.record.overlay.as_ref();
        overlay.is_some_and(|overlay| overlay.vni == vni)
    };
    match state.networks.values().find(has_it) {
        None => Ok(()),
        Some(network) => Err(CreateNetwork::VniTaken {
            vni,
            name: network.record.name.clone(),
        }),
    }
}

fn is_predefined(name: &str) -> bool {
    PREDEFINED.iter().any(|(predefined, _)| *predefined == name)
}

/// Where containers go that name no network.
pub(super) const DEFAULT_NETWORK: &str = "bridge";
const PREDEFINED: [(&str, Driver); 3] = [
    (DEFAULT_NETWORK, Driver::Bridge),
    ("host", Driver::Host),
    ("none", Driver::Null),
];
const USERS_SHOWN_MAX: usize = 5;
