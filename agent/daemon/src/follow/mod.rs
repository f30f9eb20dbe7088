//! Following the cluster: the networks of other hosts become this host's, their endpoints are reached through tunnels.
//!
//! The member's thread calls all of this, so that what the directory says is carried out in its order. [`underlay`] follows the
//! host's own place.

mod endpoints;
mod kept_out;
mod lost;
mod underlay;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use agent_cluster::{
    ALIVE, ASKS, AliveRecord, BLOCKS, Difference, ENDPOINTS, EndpointShared, Follow, Identity,
    Member, NETWORKS, Session,
};
use agent_core::record::NetworkRecord;
use agent_core::shared::blocks::{network_of, orphans};
use agent_core::shared::checks;
use agent_core::shared::restoration::Held;
use agent_core::shared::{Entry, others};
use agent_store::{Change, Expected, StoreError};
use ipnet::IpNet;
use overlay_core::HostId;
use overlay_io::QuicTunnel;
use serde::de::DeserializeOwned;

pub(crate) use self::kept_out::Watched;

use crate::endpoints::Endpoints;
use crate::ground::Ground;
use crate::networks::{Networks, Place};
use crate::panics::essential;
use crate::sharing::Sharing;
use crate::sharing::asks::open_asks;
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
        if let Some(tunnel) = self.sharing.tunnels.quic()
            && let Err(why) = self.read_letters(&tunnel)
        {
            self.ground
                .warn(format!("frames are not followed on other hosts: {why}"));
        }
    }

    /// The thread ends with the tunnel, or with this.
    fn read_letters(&self, tunnel: &QuicTunnel) -> io::Result<()> {
        let (letters, networks) = (tunnel.letters(), Arc::downgrade(&self.networks));
        let read = move || {
            while let (Ok(letter), Some(networks)) = (letters.recv(), networks.upgrade()) {
                networks.read_letter(&letter.host, &letter.body);
            }
        };
        let thread = std::thread::Builder::new().name("letters".to_owned());
        thread.spawn(|| essential(read))?;
        Ok(())
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
