//! Following the cluster: the networks of other hosts become this host's, their endpoints are reached through tunnels.
//!
//! The member's thread calls all of this, so that what the directory says is carried out in its order. [`underlay`] follows the
//! host's own place.

mod kept_out;
mod lost;
mod underlay;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use agent_cluster::{
    ALIVE, ASKS, AliveRecord, BLOCKS, Difference, ENDPOINTS, EndpointShared, Follow, Identity,
    Member, NETWORKS, Session,
};
use agent_core::record::NetworkRecord;
use agent_core::shared::before::Before;
use agent_core::shared::blocks::{network_of, orphans};
use agent_core::shared::checks::{self, BadRecord};
use agent_core::shared::restoration::Held;
use agent_core::shared::{Entry, others};
use agent_store::{Change, Expected, StoreError};
use dns_core::{EndpointNames, Service};
use ipnet::IpNet;
use overlay_core::{DirectoryEvent, Epoch, HostId, NetworkId, Record, RecordFlags, Sequence};
use serde::de::DeserializeOwned;
use switch_core::Mac;

pub(crate) use self::kept_out::Watched;

use crate::edge::EdgeHost;
use crate::endpoints::Endpoints;
use crate::ground::Ground;
use crate::locks::lock;
use crate::networks::{Networks, Place, RemotePlace};
use crate::sharing::Sharing;
use crate::sharing::asks::open_asks;
use crate::sharing::blocks::expected;
use crate::sharing::cluster::Cluster;
use crate::sharing::directory::id_shared;
use crate::sharing::tell::{SharedEndpoints, sweep_elsewhere};

/// Wires what the cluster shares to the networks and endpoints of this host.
pub(crate) struct Follower {
    pub(crate) this: Weak<Self>,
    pub(crate) watched: Watched,
    /// How far this host has said in this session that it has followed.
    pub(crate) said_followed: AtomicU64,
    pub(crate) ground: Arc<Ground>,
    pub(crate) sharing: Arc<Sharing>,
    pub(crate) networks: Arc<Networks>,
    pub(crate) endpoints: Arc<Endpoints>,
}

impl Follow for Follower {
    fn follow(&self, member: &Arc<Member>, mut differences: Vec<Difference>) {
        let is_set_back = member.world().take_set_back();
        // A network comes before what is in it, and goes after it.
        differences.sort_by_key(order);
        let networks = differences.iter().filter_map(|it| self.network_put(it));
        self.adopt_networks(member, networks.collect());
        for difference in &differences {
            self.follow_one(member, difference);
        }
        if is_set_back {
            tracing::warn!("the cluster's store was set back to an older state");
            // What has gone with it is of the past, too. What was told just before may be lost though nobody has heard of it.
            self.sharing.forget_past();
            member.say_again();
            self.take_in_known(member);
            self.follow_known(member);
        }
        let have_changed = self.follow_directory(member);
        if have_changed || is_set_back || !differences.iter().all(is_of_endpoints) {
            self.sharing.guard_tunnels(Some(member));
            self.acknowledge(member);
        }
        self.sharing.bell.ring();
    }

    fn settle(&self, member: &Arc<Member>) {
        for place in self.shared_places() {
            self.settle_place(member, &place);
        }
    }

    fn begin(&self, member: &Arc<Member>, session: Session) -> Result<(), StoreError> {
        self.said_followed.store(0, Ordering::Relaxed);
        self.sharing.begin(session);
        self.mind_all_gone(member);
        self.take_in_known(member);
        self.open_late(member);
        let shared = self.share_everything(member, session);
        self.follow_directory(member);
        self.sharing.guard_tunnels(Some(member));
        self.acknowledge(member);
        shared
    }

    fn tend(&self, member: &Arc<Member>) -> Result<(), StoreError> {
        for place in self.shared_places() {
            self.sharing.tend_blocks(member, &place.seated())?;
        }
        Ok(())
    }

    fn locate(&self, host: &str) -> Option<IpAddr> {
        let host = HostId::new(host).ok()?;
        let quic = self.sharing.tunnels.quic()?;
        let peer = quic.peer(&host).filter(|peer| peer.is_up)?;
        // Over a relay nobody sees where a host is.
        peer.relay.is_none().then(|| peer.address.ip())
    }

    fn recertified(&self, identity: &Identity) {
        self.sharing.renew_quic(identity);
    }
}

impl Follower {
    /// A member from now on: tunnels, directory, and the thread that follows the others.
    pub(crate) fn take_up(self: &Arc<Self>, member: &Arc<Member>) -> Result<(), Cluster> {
        self.raise(member)?;
        self.start(member)
    }

    /// Goes on after [`Follower::raise`], when all that this host has is there again.
    pub(crate) fn go_on(self: &Arc<Self>) {
        let Some(member) = self.sharing.member() else {
            return;
        };
        if let Err(why) = member.serve() {
            self.ground.warn(format!(
                "this host does not run what its cluster needs of it: {why}; start the agent again when that is mended"
            ));
        }
        if let Err(why) = self.start(&member) {
            self.ground
                .warn(format!("this host does not follow its cluster: {why}"));
        }
    }

    fn start(self: &Arc<Self>, member: &Arc<Member>) -> Result<(), Cluster> {
        self.sharing.guard_tunnels(Some(member));
        let this: Weak<Self> = Arc::downgrade(self);
        let follower: Weak<dyn Follow> = this;
        Ok(member.start(follower)?)
    }

    /// Tunnels and directory, by what is known without etcd: frames between hosts flow then.
    pub(crate) fn raise(&self, member: &Member) -> Result<(), Cluster> {
        let is_in_place = self.find_place(member);
        let host = HostId::new(member.host()).map_err(|error| Cluster::Host(error.to_string()))?;
        // Elsewhere than before, this may be a copy of a host: whether it is one is known when the cluster has been asked. By
        // a manager's connections the others find it, and so the cluster.
        if is_in_place || member.way().is_none() {
            self.open_quic(member, &host);
        }
        let places = self.networks.places().into_iter();
        let shared = places.filter_map(|place| id_shared(&place.record));
        self.sharing.prepare(host, shared);
        self.follow_known(member);
        Ok(())
    }

    fn open_quic(&self, member: &Member, host: &HostId) {
        if let Err(why) = self.sharing.start_quic(member, host) {
            self.ground.warn(format!(
                "networks over QUIC do not reach other hosts: {why}"
            ));
        }
    }

    /// The cluster knows this host, so that it may open the tunnels that it has not opened before.
    fn open_late(&self, member: &Member) {
        let Ok(host) = HostId::new(member.host()) else {
            return;
        };
        if self.sharing.tunnels.quic().is_some() {
            return;
        }
        self.open_quic(member, &host);
        for seen in member.hosts() {
            if let (Some(alive), Ok(id)) = (seen.alive, HostId::new(&seen.id)) {
                self.networks.retarget(member, &id, alive.address);
            }
        }
    }

    /// The hosts and endpoints that this host has heard of. The member's thread goes through everything once more.
    fn follow_known(&self, member: &Member) {
        let known: Vec<_> = {
            let world = member.world();
            let is_place = |entry: &&Entry| {
                [ALIVE, ENDPOINTS]
                    .iter()
                    .any(|kind| entry.key.starts_with(kind))
            };
            world.entries().filter(is_place).cloned().collect()
        };
        for entry in known {
            self.follow_one(member, &Difference::Put(entry));
        }
        self.follow_directory(member);
    }

    /// Leaves the cluster, unless somebody here uses one of its networks.
    pub(crate) fn leave(&self) -> Result<(), agent_api::ApiError> {
        let (change, member) = self.sharing.begin_leaving()?;
        let shared: Vec<_> = self
            .networks
            .places()
            .into_iter()
            .filter(|place| place.record.shared().is_some())
            .collect();
        for place in &shared {
            if let Some(endpoint) = place.seats.records().first() {
                return Err(Cluster::InUse {
                    network: place.record.name.clone(),
                    user: endpoint.name.clone(),
                }
                .into());
            }
        }
        member.leave().map_err(Cluster::from)?;
        for place in shared {
            // Somebody may have come meanwhile.
            if !self.networks.abandon(&place.record.id) {
                self.endpoints.cut_off(&place);
            }
        }
        self.networks.forget_all_kept_out();
        self.sharing.clear();
        change.end_out();
        Ok(())
    }

    /// At the beginning of a session: everything of this host under its new lease, and nothing that is gone.
    fn share_everything(&self, member: &Arc<Member>, session: Session) -> Result<(), StoreError> {
        let here = self.shared_places().map(|place| place.record.id.clone());
        sweep_elsewhere(member, &here.collect())?;
        let mut all_whole = true;
        for place in self.shared_places() {
            let (records, are_whole) = self.endpoints.hold_addresses(member, &place)?;
            all_whole &= are_whole;
            let endpoints = SharedEndpoints {
                network: place.record.id.clone(),
                records,
            };
            self.sharing.share_again(member, session, &endpoints)?;
            // What went while it was told is taken back by whoever told it last.
            let present = place.seats.records();
            let is_gone = |told: &&Arc<agent_core::record::EndpointRecord>| {
                !present.iter().any(|record| record.id == told.id)
            };
            for gone in endpoints.records.iter().filter(is_gone) {
                self.sharing.unshare(gone);
            }
            self.sharing.tend_blocks(member, &place.seated())?;
        }
        let old = others::old_claims(&member.world(), member.host());
        forget(member, &old)?;
        let orphans = orphans(&member.world());
        forget(member, &orphans)?;
        for ask in open_asks(member) {
            self.sharing
                .answer(member, &ask, |id| Some(self.networks.place(id)?.seated()))?;
        }
        if !all_whole {
            Endpoints::mend_cut_off(&self.endpoints);
        }
        Ok(())
    }

    fn shared_places(&self) -> impl Iterator<Item = Place> {
        let places = self.networks.places().into_iter();
        places.filter(|place| place.record.shared().is_some())
    }

    /// What this host gives out of the networks of its cluster, as long as it has them, and where its endpoints are.
    pub(crate) fn held(&self) -> Vec<Held> {
        let of_place = |place: Place| {
            let owned = place.seats.with_pools(|pools, _| pools.owned());
            let records = place.seats.records();
            let used = records.iter().flat_map(|record| record.addresses());
            let blocks: Vec<_> = owned.into_iter().chain(used.map(IpNet::from)).collect();
            let network = place.record.id.clone();
            blocks.into_iter().map(move |block| Held {
                network: network.clone(),
                block,
            })
        };
        self.shared_places().flat_map(of_place).collect()
    }

    /// What is noted of a network's addresses is what the world says.
    pub(super) fn settle_place(&self, member: &Member, place: &Place) {
        place.seats.with_pools(|pools, _| {
            others::settle(pools, &member.world(), member.host(), &place.record.id);
        });
        self.sharing.settle_blocks(member, &place.seated());
    }

    fn follow_one(&self, member: &Member, difference: &Difference) {
        let (entry, is_there) = match difference {
            Difference::Put(entry) => (entry, true),
            Difference::Deleted(entry) => (entry, false),
        };
        let key = entry.key.as_str();
        if let Some(id) = key.strip_prefix(NETWORKS) {
            if !is_there {
                self.network_gone(member, key, id);
            }
        } else if let Some(rest) = key.strip_prefix(ENDPOINTS) {
            if let (Some(shared), Some((network, id))) =
                (decode::<EndpointShared>(entry), rest.split_once('/'))
            {
                let own = shared.host == member.host();
                match own && is_there {
                    true => self.mind_stray(member, entry, (network, id)),
                    false => self.follow_endpoint(member, (key, network, id), &shared, is_there),
                }
            }
        } else if let Some(network) = network_of(entry) {
            self.follow_blocks(member, network);
            self.judge_again(member, network);
        } else if key.starts_with(ASKS) {
            if is_there && member.session().is_some() {
                self.follow_ask(member, entry);
            }
        } else if let Some(host) = key.strip_prefix(ALIVE)
            && let (Some(alive), Ok(id)) = (decode::<AliveRecord>(entry), HostId::new(host))
        {
            if let Err(why) = checks::check_alive(host, &alive) {
                return self.sharing.refused.refuse(key, &why);
            }
            self.sharing.note_presence(host, is_there);
            self.sharing.meet(member, &id);
            match is_there {
                true => {
                    let epoch = member.world().epoch(entry.revision);
                    self.sharing.note_life(&id, epoch);
                    self.networks.retarget(member, &id, alive.address);
                }
                false => {
                    let epoch = member.world().epoch(entry.revision);
                    self.sharing.forget_host(&id, epoch);
                }
            }
        }
    }

    /// Before a list of everything has come, what is known may be of an earlier life.
    fn follow_blocks(&self, member: &Member, network: &str) {
        let (Some(place), Some(_)) = (self.networks.place(network), member.session()) else {
            return;
        };
        self.sharing.settle_blocks(member, &place.seated());
        if place.seats.are_out_of_place() {
            member.say_again();
        }
    }

    fn follow_ask(&self, member: &Member, ask: &Entry) {
        let answered = self
            .sharing
            .answer(member, ask, |id| Some(self.networks.place(id)?.seated()));
        if let Err(error) = answered {
            tracing::warn!(%error, "another host has no answer yet");
            member.say_again();
        }
    }

    /// The network that came or changed, where that is what happened.
    fn network_put(&self, difference: &Difference) -> Option<NetworkRecord> {
        let Difference::Put(entry) = difference else {
            return None;
        };
        let id = entry.key.strip_prefix(NETWORKS)?;
        let record: NetworkRecord = decode(entry)?;
        if record.id != id {
            let why = format!("it is of network {:?}", record.id);
            self.sharing.refused.refuse(&entry.key, &why);
            return None;
        }
        Some(record)
    }

    fn network_gone(&self, member: &Member, key: &str, id: &str) {
        self.sharing.refused.forget(key);
        self.networks.forget_kept_out(id);
        if let Some(place) = self.networks.place(id)
            && place.record.shared().is_some()
        {
            self.mind_gone(member, &place);
        }
        self.look_again();
    }

    /// Endpoints of a network that were refused may be good, now that an address is claimed.
    fn judge_again(&self, member: &Member, network: &str) {
        let refused = self
            .sharing
            .refused
            .under(&format!("{ENDPOINTS}{network}/"));
        for key in refused {
            let entry = member.world().entry(&key).cloned();
            if let Some(entry) = entry {
                self.follow_one(member, &Difference::Put(entry));
            }
        }
    }

    /// An endpoint of another host has a MAC, or has it no more: one of this host may have to give it up, or may have it now.
    fn mind_mac(&self, member: &Member, place: &Place, mac: [u8; 6], is_there: bool) {
        let Some((own, is_cut_off)) = place.seats.with_mac(mac) else {
            return;
        };
        let is_news = match is_there {
            true => !is_cut_off && Sharing::why_mac_is_lost(member, &own).is_some(),
            false => is_cut_off,
        };
        if is_news {
            member.say_again();
        }
    }

    fn follow_endpoint(
        &self,
        member: &Member,
        (key, network, id): (&str, &str, &str),
        shared: &EndpointShared,
        is_there: bool,
    ) {
        let Some(place) = self.networks.place(network) else {
            return;
        };
        if shared.host == member.host() {
            let is_shared = place.record.shared().is_some() && member.session().is_some();
            if !is_there && is_shared && place.seats.get(id).is_some() {
                // Nobody but this host takes it away, so the store has lost it.
                self.tell_anew(network, id, shared.sequence);
                member.say_again();
            }
            return;
        }
        // A host that was shut out may still have a word in etcd for a moment.
        if is_there && !member.knows(&shared.host) {
            return;
        }
        // What was not taken in takes nothing with it.
        if !is_there && self.sharing.refused.forget(key) {
            return;
        }
        if let Err(why) = check(member, &place, id, shared, is_there) {
            self.sharing.refused.refuse(key, &why);
            // What was taken in before the store was set back goes when it is deleted.
            if lock(&self.sharing.taken_in).contains(key) {
                self.sharing.refused.forget(key);
            }
            return;
        }
        self.sharing.refused.forget(key);
        self.mind_mac(member, &place, shared.mac, is_there);
        let (Some(network), Ok(host)) = (id_shared(&place.record), HostId::new(&shared.host))
        else {
            return;
        };
        place.seats.with_pools(|pools, _| {
            others::note(pools, &member.world(), member.host(), shared, is_there);
        });
        let record = Record {
            network,
            mac: Mac::new(shared.mac),
            addresses: shared.addresses(),
            host,
            epoch: Epoch(shared.epoch),
            sequence: Sequence(shared.sequence),
            flags: RecordFlags {
                sticky: true,
                ..RecordFlags::default()
            },
        };
        match is_there {
            true => lock(&self.sharing.taken_in).insert(key.to_owned()),
            false => lock(&self.sharing.taken_in).remove(key),
        };
        if is_there {
            let mac = record.mac;
            self.networks.move_remote(network, mac, shared.vlans());
        }
        if self.sharing.apply(record, is_there) {
            follow_names(&place, id, shared, is_there);
        }
    }

    /// What was told of an endpoint may come to the store when the endpoint has gone: a manager that was cut off carries out what this
    /// host had given up. Then it is taken back.
    fn mind_stray(&self, member: &Member, entry: &Entry, (network, id): (&str, &str)) {
        let place = self.networks.place(network);
        let is_here = place.is_some_and(|place| place.seats.has(id));
        if is_here || member.session().is_none() {
            return;
        }
        let told = expected(Some(Before::of(entry)));
        match member.store().delete(&entry.key, told) {
            Ok(()) | Err(StoreError::Changed { .. } | StoreError::Missing { .. }) => {}
            Err(error) => {
                tracing::warn!(endpoint = id, %error, "other hosts know an endpoint that is gone, for now");
                member.say_again();
            }
        }
    }

    /// The others have heard that an endpoint of this host is gone: its next word has to be newer than that.
    fn tell_anew(&self, network: &str, id: &str, sequence: u32) {
        let records = self.networks.place(network);
        let records = records.map_or_else(Vec::new, |place| place.seats.records());
        if let Some(record) = records.iter().find(|record| record.id == id) {
            self.sharing.announce(record, sequence.saturating_add(1));
        }
    }

    /// Makes the bridges what the directory says. Whether tunnels of networks came or went.
    fn follow_directory(&self, member: &Member) -> bool {
        let mut have_changed = false;
        while let Some(event) = self.sharing.next_event() {
            have_changed |= matches!(
                event,
                DirectoryEvent::FloodJoin { .. } | DirectoryEvent::FloodLeave { .. }
            );
            match event {
                DirectoryEvent::Endpoint {
                    network,
                    mac,
                    endpoint,
                } => {
                    if endpoint.host.as_str() == member.host() {
                        self.keep_own(network, mac, &endpoint.addresses);
                    } else {
                        let world = member.world();
                        let id = network.to_string();
                        let told = others::holder_of_mac(&world, member.host(), &id, mac.octets());
                        let vlans = told.and_then(|(_, shared)| shared.vlans());
                        drop(world);
                        let at = RemotePlace {
                            host: endpoint.host,
                            addresses: endpoint.addresses,
                            vlans,
                        };
                        self.networks.place_remote(network, mac, at);
                    }
                }
                DirectoryEvent::EndpointGone { network, mac } => {
                    if self.networks.forget_remote(network, mac)
                        && let Some(place) = self.networks.place(&network.to_string())
                        && let Some(segment) = &place.segment
                    {
                        segment.bridge.unregister_endpoint(mac);
                    }
                }
                DirectoryEvent::FloodJoin { network, host } => {
                    self.networks.open_tunnel(member, network, &host);
                }
                DirectoryEvent::FloodLeave { network, host } => {
                    self.networks.close_tunnel(network, &host);
                }
            }
        }
        self.networks.follow_needs();
        have_changed
    }

    /// An endpoint of this host has its MAC, whoever had it before.
    fn keep_own(&self, network: NetworkId, mac: Mac, addresses: &[IpAddr]) {
        let Some(place) = self.networks.place(&network.to_string()) else {
            return;
        };
        if self.networks.forget_remote(network, mac)
            && let (Some(segment), Some(port)) = (&place.segment, place.seats.port_of(mac))
        {
            segment.bridge.register_endpoint(port, mac, addresses);
        }
    }
}

/// One that goes had its addresses before.
fn check(
    member: &Member,
    place: &Place,
    id: &str,
    shared: &EndpointShared,
    is_there: bool,
) -> Result<(), BadRecord> {
    checks::check_endpoint(&place.record, id, shared)?;
    match is_there {
        true => checks::check_claimed(&member.world(), &place.record.id, shared),
        false => Ok(()),
    }
}

/// Deletes keys that nobody needs any more.
fn forget(member: &Member, keys: &[String]) -> Result<(), StoreError> {
    for some in keys.chunks(FORGOTTEN_MAX) {
        let deletions = some.iter();
        let deletions: Vec<_> = deletions
            .map(|key| Change::delete(key, Expected::Anything))
            .collect();
        member.store().transact(&deletions)?;
    }
    Ok(())
}

fn follow_names(place: &Place, id: &str, shared: &EndpointShared, is_there: bool) {
    let Some(segment) = &place.segment else {
        return;
    };
    if !is_there {
        return segment.edge.remove(id);
    }
    let host = EdgeHost {
        port: None,
        mac: Mac::new(shared.mac),
        dhcp: None,
        names: EndpointNames {
            name: shared.name.clone(),
            aliases: shared.aliases.clone(),
            hostname: shared.hostname.clone(),
            short_id: shared.short_id.clone(),
            v4: shared.ipv4,
            v6: shared.ipv6,
            services: shared.services.iter().map(Service::from).collect(),
        },
        dns: Vec::new(),
    };
    if let Err(error) = segment.edge.insert(id, host) {
        tracing::warn!(endpoint = shared.name, %error, "a remote endpoint has no names here");
    }
}

/// Whether a difference concerns neither where hosts are nor which networks there are. Of these, there may be a thousand a second.
fn is_of_endpoints(difference: &Difference) -> bool {
    let (Difference::Put(entry) | Difference::Deleted(entry)) = difference;
    let kinds = [ENDPOINTS, BLOCKS, ASKS];
    kinds.iter().any(|kind| entry.key.starts_with(kind))
}

fn order(difference: &Difference) -> u8 {
    let (entry, is_there) = match difference {
        Difference::Put(entry) => (entry, true),
        Difference::Deleted(entry) => (entry, false),
    };
    match (entry.key.starts_with(NETWORKS), is_there) {
        (true, true) => 0,
        (false, true) => 1,
        (false, false) => 2,
        (true, false) => 3,
    }
}

fn decode<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    match entry.decode() {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(%error, "passed over");
            None
        }
    }
}

/// Of one transaction; etcd takes 128 changes.
const FORGOTTEN_MAX: usize = 64;
