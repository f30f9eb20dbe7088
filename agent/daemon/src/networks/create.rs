//! Making networks: planned, reserved, made, and gone again after a failure.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent_api::{ApiError, Driver, NetworkCreate, NetworkSummary};
use agent_cluster::Member;
use agent_core::events::Notice;
use agent_core::ipam::{Pools, SubnetInUse, default_pools_v6};
use agent_core::network::{
    CreateNetwork, MTU_MAX, OverlayWish, SubnetEntry, Surroundings, check_vni, in_our_words,
    is_predefined, keep_for_host, plan, uplink_of, without_segment,
};
use agent_core::record::{Encap, NetworkRecord, OverlayRecord, blocks_key, network_key};
use agent_core::shared::{World, networks};
use agent_host::netlink::{NetlinkError, SubnetWatch};
use ipnet::IpNet;
use switch_core::PortCounts;

use super::view::summary;
use super::{Network, Networks, Stage, Table, Ways};
use crate::locks::lock;
use crate::random::{id_for, new_id};
use crate::seats::{Past, Roll, Seats};
use crate::sharing::blocks::first_pages;
use crate::sharing::networks::{decide, unshare_network};
use crate::sharing::route::{local_address, quic_mtu, vxlan_mtu};

impl Networks {
    pub(crate) fn create(&self, request: NetworkCreate) -> Result<NetworkSummary, ApiError> {
        let request = in_our_words(request)?;
        let record = match OverlayWish::read(&request)? {
            None => self.plan_local(request)?,
            Some(wish) if wish.remotes.is_empty() => return self.create_global(request, &wish),
            Some(wish) => self.plan_static(request, wish)?,
        };
        self.make(&record)?;
        Ok(summary(&record))
    }

    /// A network of all hosts of the cluster; they know it when this returns.
    fn create_global(
        &self,
        request: NetworkCreate,
        wish: &OverlayWish,
    ) -> Result<NetworkSummary, ApiError> {
        let member = self.sharing.member().ok_or(CreateNetwork::NoCluster)?;
        let _turn = self.creations.take(());
        if member.steady_session().is_none() {
            return Err(CreateNetwork::OutOfStep.into());
        }
        // Where another host was faster, a subnet is chosen anew.
        let mut reserved: Option<Arc<NetworkRecord>> = None;
        let shared = decide(&member, |known| {
            if let Some(before) = reserved.take() {
                self.unreserve(&before);
            }
            let record = self.plan_global(&member, request.clone(), wish, &known.world)?;
            reserved = Some(Arc::clone(&record));
            let (record, mut writes) =
                networks::create(&known.world, (*record).clone(), wish.vni, known.rest)?;
            // Every host has a block from the beginning, so that containers start there whatever becomes of the store.
            let pages = first_pages(&member, &record)?.into_iter();
            writes.extend(pages.take(PAGES_MAX).map(|page| networks::Write {
                key: page.key,
                before: Some(page.before),
                value: serde_json::to_value(page.record).ok(),
            }));
            Ok((record, writes))
        });
        let shared = match shared {
            Ok(shared) => Arc::new(shared),
            Err(error) => {
                if let Some(record) = reserved {
                    self.unreserve(&record);
                }
                return Err(error.into());
            }
        };
        self.change(&shared.id, |network| network.record = Arc::clone(&shared));
        if let Err(error) = self.make(&shared) {
            if let Err(left) = unshare_network(&member, &shared) {
                tracing::warn!(error = %left, "a network that was not made stays known to other hosts");
            }
            return Err(error.into());
        }
        Ok(summary(&shared))
    }

    fn plan_local(&self, mut request: NetworkCreate) -> Result<Arc<NetworkRecord>, CreateNetwork> {
        let mut around = self.surroundings();
        if let Some(uplink) = uplink_of(&request) {
            let nic = Self::check_uplink(&uplink)?;
            let mtu = u16::try_from(nic.mtu).unwrap_or(MTU_MAX);
            around.mtu_max = Some(mtu.min(MTU_MAX));
            keep_for_host(&mut request, &nic.own_addresses());
        }
        self.reserve(&request.name.clone(), None, |table| {
            let around = Surroundings {
                networks: table.in_use(|_| true),
                ..around
            };
            plan(id_for(request.id.as_ref())?, request, None, &around)
        })
    }

    fn plan_global(
        &self,
        member: &Member,
        mut request: NetworkCreate,
        wish: &OverlayWish,
        world: &World,
    ) -> Result<Arc<NetworkRecord>, CreateNetwork> {
        if wish.encap == Encap::Quic && self.sharing.tunnels.quic().is_none() {
            return Err(CreateNetwork::NoQuic);
        }
        let mut around = self.surroundings();
        // Nothing leads into an internal network, so that a subnet which is asked for may be another one's too.
        if !request.internal || request.subnets.is_empty() {
            around.networks = networks::in_use(world, "");
        }
        match wish.encap {
            Encap::Vxlan => {
                let most = vxlan_mtu(member.address());
                let most = most.map_err(|error| unknown_mtu(&request, &error))?;
                limit_mtu(&mut request, &mut around, wish, most);
            }
            // Frames are cut on the way, so any MTU will do.
            Encap::Quic => {
                let best = quic_mtu(member.address());
                let best = best.map_err(|error| unknown_mtu(&request, &error))?;
                request.mtu = request.mtu.or(Some(best));
            }
        }
        let overlay = OverlayRecord {
            vni: wish.vni.unwrap_or_default(),
            encap: wish.encap,
            remotes: Vec::new(),
        };
        self.plan_overlay(request, wish.vni, overlay, around)
    }

    /// A network whose other hosts are named one by one.
    fn plan_static(
        &self,
        mut request: NetworkCreate,
        wish: OverlayWish,
    ) -> Result<Arc<NetworkRecord>, CreateNetwork> {
        let vni = wish.vni.ok_or(CreateNetwork::StaticVni)?;
        let mut mtu_max = u16::MAX;
        for remote in &wish.remotes {
            let local = wish.vxlan.local.or_else(|| local_address(*remote));
            let local = local.ok_or(CreateNetwork::NoRoute(*remote))?;
            let mtu = vxlan_mtu(local).map_err(|error| unknown_mtu(&request, &error))?;
            mtu_max = mtu_max.min(mtu);
        }
        let mut around = self.surroundings();
        limit_mtu(&mut request, &mut around, &wish, mtu_max);
        let overlay = OverlayRecord {
            vni,
            encap: wish.encap,
            remotes: wish.remotes,
        };
        self.plan_overlay(request, Some(vni), overlay, around)
    }

    fn plan_overlay(
        &self,
        request: NetworkCreate,
        vni: Option<u32>,
        overlay: OverlayRecord,
        around: Surroundings,
    ) -> Result<Arc<NetworkRecord>, CreateNetwork> {
        self.reserve(&request.name.clone(), vni, |table| {
            // An internal network has no way to the host, so a given subnet may be another network's too.
            let is_given = !request.subnets.is_empty();
            let clashes =
                |record: &NetworkRecord| !is_given || !record.internal && !request.internal;
            let around = Surroundings {
                networks: [table.in_use(clashes), around.networks].concat(),
                ..around
            };
            plan(
                id_for(request.id.as_ref())?,
                request,
                Some(overlay),
                &around,
            )
        })
    }

    /// Puts what is `planned` into the table, where nobody sees it but whoever wants the same name, subnet or VNI.
    fn reserve(
        &self,
        name: &str,
        vni: Option<u32>,
        planned: impl FnOnce(&Table) -> Result<NetworkRecord, CreateNetwork>,
    ) -> Result<Arc<NetworkRecord>, CreateNetwork> {
        let mut table = lock(&self.table);
        if table.has_name(name) {
            return Err(CreateNetwork::NameTaken(name.to_owned()));
        }
        if let Some(vni) = vni {
            let networks = table.networks.values();
            check_vni(networks.map(|network| &*network.record), vni)?;
        }
        let record = planned(&table)?;
        table.insert(record)
    }

    fn unreserve(&self, record: &NetworkRecord) {
        lock(&self.table).networks.remove(&record.id);
    }

    /// Makes one of the networks that every agent has.
    pub(crate) fn make_predefined(&self, name: &str, driver: Driver) -> Result<(), CreateNetwork> {
        let record = if driver == Driver::Bridge {
            self.plan_local(NetworkCreate {
                name: name.to_owned(),
                ..NetworkCreate::default()
            })?
        } else {
            self.reserve(name, None, |_| Ok(without_segment(new_id(), name, driver)))?
        };
        self.make(&record)
    }

    /// A network that is in the table already: its record, its segment, its host port. Nothing is left of a failure.
    pub(super) fn make(&self, record: &Arc<NetworkRecord>) -> Result<(), CreateNetwork> {
        let _turn = self.turns.take(record.id.clone());
        let made = self.make_parts(record);
        match made {
            Ok(()) => {
                self.set_stage(&record.id, Stage::Up);
                self.tell(Notice::network(record, "create"));
                tracing::info!(network = record.name, id = record.id, driver = ?record.driver, "network made");
                self.keep_names(&record.id);
                Ok(())
            }
            Err(error) => {
                for left in self.take_apart(record) {
                    tracing::warn!(network = record.name, %left, "left of a network that was not made");
                }
                Err(error)
            }
        }
    }

    fn make_parts(&self, record: &Arc<NetworkRecord>) -> Result<(), CreateNetwork> {
        let failed = |why: &dyn std::fmt::Display| CreateNetwork::Host {
            name: record.name.clone(),
            why: why.to_string(),
        };
        self.ground
            .journal
            .put(&network_key(&record.id), &**record)
            .wait()
            .map_err(|error| failed(&error))?;
        if !record.has_bridge() {
            return Ok(());
        }
        self.raise(record).map_err(|error| failed(&error))?;
        self.open_uplink(record);
        match self.open_own_host_port(record) {
            Ok(()) => Ok(()),
            // It comes with every agent, and works inside.
            Err(_) if is_predefined(&record.name) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Takes up a network that is on record, at the start of the agent. It stays without a segment where that fails.
    pub(crate) fn restore(&self, record: NetworkRecord) -> Result<(), CreateNetwork> {
        let record = Arc::new(record);
        let _turn = self.turns.take(record.id.clone());
        let mut network = Network::planned(Arc::clone(&record), Past::unknown(), &self.roll())?;
        network.stage = Stage::Up;
        if record.shared().is_some() {
            let owned = self.ground.journal.get(&blocks_key(&record.id));
            let owned: Option<Vec<IpNet>> = owned.map_err(|error| CreateNetwork::Host {
                name: record.name.clone(),
                why: error.to_string(),
            })?;
            network.seats.own(&owned.unwrap_or_default());
        }
        lock(&self.table)
            .networks
            .insert(record.id.clone(), network);
        if record.has_bridge()
            && let Err(error) = self.raise(&record)
        {
            self.ground
                .warn(format!("network {:?} is down: {error}", record.name));
        }
        if let Some(place) = self.place(&record.id) {
            let restored = self.restore_acl(&place);
            restored.map_err(|error| CreateNetwork::Host {
                name: record.name.clone(),
                why: error.to_string(),
            })?;
            self.restore_stations_of(&record.id);
        }
        self.open_uplink(&record);
        self.keep_names(&record.id);
        Ok(())
    }

    /// What the kernel and the configuration say; the networks are added under the lock.
    fn surroundings(&self) -> Surroundings {
        let pools = &self.ground.config.address_pools;
        Surroundings {
            networks: Vec::new(),
            host: self.routed_subnets(),
            pools_v4: pools.v4.clone(),
            pools_v6: match pools.v6.as_slice() {
                [] => default_pools_v6(self.ula_global_id),
                given => given.to_vec(),
            },
            mtu_max: None,
        }
    }

    /// What the host routes already by links that are not the agent's; without an answer from the kernel, nothing is avoided.
    pub(super) fn routed_subnets(&self) -> Vec<SubnetEntry> {
        // Whoever asks at the same time opens another one.
        let kept = lock(&self.subnets).take();
        let in_use = kept
            .map_or_else(SubnetWatch::open, Ok)
            .and_then(|mut watch| {
                let in_use = watch.in_use(|| self.host_links())?;
                *lock(&self.subnets) = Some(watch);
                Ok(in_use)
            });
        in_use.unwrap_or_else(|error| {
            tracing::warn!(%error, "the host's routes cannot be listed; a network may overlap one");
            Vec::new()
        })
    }

    fn host_links(&self) -> BTreeSet<String> {
        let table = lock(&self.table);
        let networks = table.networks.values();
        networks.map(|network| network.record.host_link()).collect()
    }
}

impl Network {
    fn planned(
        record: Arc<NetworkRecord>,
        past: Past,
        roll: &Arc<Roll>,
    ) -> Result<Self, CreateNetwork> {
        let mut pools = Pools::of(&record)?;
        if record.shared().is_some() {
            pools.own(&[]);
        }
        Ok(Self {
            seats: Arc::new(Seats::new(pools, past, Arc::clone(roll))),
            record,
            segment: None,
            stage: Stage::Making,
            ways: Ways::default(),
            closed: None,
            no_uplink: None,
            overlaps: None,
            gone: PortCounts::default(),
        })
    }
}

impl Table {
    pub(super) fn insert(
        &mut self,
        record: NetworkRecord,
    ) -> Result<Arc<NetworkRecord>, CreateNetwork> {
        if self.networks.contains_key(&record.id) {
            return Err(CreateNetwork::IdTaken(record.id));
        }
        let record = Arc::new(record);
        // What a LAN remembers of an address nobody here knows.
        let past = match record.uplink() {
            Some(_) => Past::unknown(),
            None => Past::none(),
        };
        let network = Network::planned(Arc::clone(&record), past, &self.roll)?;
        self.networks.insert(record.id.clone(), network);
        Ok(record)
    }

    /// The subnets of networks that `clash` with what is planned.
    fn in_use(&self, clash: impl Fn(&NetworkRecord) -> bool) -> Vec<SubnetInUse> {
        let clashing = self.named().filter(|record| clash(record));
        let in_use = clashing.flat_map(|record| {
            record.subnets.iter().map(|subnet| SubnetInUse {
                subnet: subnet.net,
                by: format!("network {:?}", record.name),
            })
        });
        in_use.collect()
    }
}

/// Over an underlay that carries packets of `most` bytes whole.
fn limit_mtu(
    request: &mut NetworkCreate,
    around: &mut Surroundings,
    wish: &OverlayWish,
    most: u16,
) {
    if wish.vxlan.may_fragment() {
        request.mtu = request.mtu.or(Some(most));
    } else {
        around.mtu_max = Some(most);
    }
}

fn unknown_mtu(request: &NetworkCreate, error: &NetlinkError) -> CreateNetwork {
    CreateNetwork::Host {
        name: request.name.clone(),
        why: error.to_string(),
    }
}

/// Of the transaction that makes a network; hosts without a block in it take one when they hear of the network.
const PAGES_MAX: usize = 64;
