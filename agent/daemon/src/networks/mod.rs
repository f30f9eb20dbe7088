//! Networks: what they are on this host, who makes them, and who takes them away.
//!
//! # Theory of operation
//!
//! A network is reserved in the table as it is planned, with its name, subnets and VNI; nobody sees it before it is made. Making
//! and removing a network, opening its host port, its tunnels and its patches take the network's turn; the table is locked for
//! a look or for one step. A network that is about to go takes no endpoints any more ([`Seats::close`]), and is nobody's from
//! then on.
//!
//! Its endpoints belong to `crate::endpoints`: a network hands out their [`Seats`] and asks no more of them than whether they
//! are free.

mod acl;
mod adopt;
mod create;
mod cut_off;
mod flows;
mod host_link;
mod host_port;
mod mdb;
mod mend;
mod metered;
mod mirror;
mod named_ports;
mod names;
mod notices;
mod overlap;
mod patch;
mod patch_link;
mod recall;
mod remove;
mod rename;
mod segment;
mod stations;
mod trace;
mod uplink;
mod view;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_core::find::{Find, find};
use agent_core::record::{Encap, MirrorRecord, NetworkRecord, PatchRecord};
use agent_core::station::StationRecord;
use agent_host::netlink::SubnetWatch;
use overlay_core::HostId;
use switch_core::{Mac, PortCounts, PortId};
use switch_io::ImpairmentControl;
use tokio::sync::Notify;

pub(crate) use self::metered::{MeteredNetwork, MeteredPort, Station};
use self::recall::Memory;
pub(crate) use self::segment::{Segment, attach_tap, open_tap};
pub(crate) use self::trace::Wish;
pub(crate) use self::ways::RemotePlace;

use self::acl::Acl;
use self::adopt::KeptOut;
use self::trace::{Followers, Shown};
use self::uplink::LanPort;
use crate::edge::HostNames;
use crate::ground::Ground;
use crate::locks::lock;
use crate::publishing::Filter;
use crate::seats::{Roll, Seated, Seats};
use crate::sharing::Sharing;
use crate::sharing::tunnels::TunnelPort;
use crate::turns::Turns;

/// The networks of this host.
pub(crate) struct Networks {
    ground: Arc<Ground>,
    filter: Arc<Filter>,
    sharing: Arc<Sharing>,
    /// The random part of this host's own IPv6 prefix (RFC 4193 §3.2.2).
    ula_global_id: [u8; 5],
    table: Mutex<Table>,
    turns: Turns<String>,
    /// Of access lists, by the networks' ids.
    lists: Turns<String>,
    /// This host makes networks of the cluster one by one.
    creations: Turns<()>,
    /// Some network has no host port that should have one.
    closed: Arc<Notify>,
    /// Which names this host keeps to itself.
    names: Arc<HostNames>,
    /// What the host reaches by links of others, while nobody asks.
    subnets: Mutex<Option<SubnetWatch>>,
    /// Locked before `table`.
    memory: Mutex<Memory>,
    /// Who follows frames on the networks' other hosts too.
    followers: Mutex<Followers>,
    /// The hosts that are shown the frames of networks.
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Table {
    /// By id.
    networks: BTreeMap<String, Network>,
    /// Which networks are joined, by the patches' keys; they make no loops.
    patches: BTreeMap<String, PatchRecord>,
    mirrors: BTreeSet<MirrorRecord>,
    /// Those that somebody configured.
    stations: BTreeSet<StationRecord>,
    /// Access lists, by the networks' ids.
    acls: BTreeMap<String, Acl>,
    /// Networks of the cluster that are not here, by id.
    kept_out: BTreeMap<String, KeptOut>,
    /// The agent ends: whatever comes now would be left behind.
    is_left: bool,
    /// Who has a seat on any of them.
    roll: Arc<Roll>,
}

/// A network and its parts on this host.
struct Network {
    record: Arc<NetworkRecord>,
    /// Absent for the drivers `host` and `null`, which have no ports.
    segment: Option<Arc<Segment>>,
    seats: Arc<Seats>,
    stage: Stage,
    ways: Ways,
    /// Why there is no host port, where there should be one.
    closed: Option<String>,
    /// Why there is no uplink, where there should be one.
    no_uplink: Option<String>,
    /// What came to overlap it, and what to do.
    overlaps: Option<String>,
    /// What was counted at ports that are gone.
    gone: PortCounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Making,
    Up,
    Leaving,
}

/// Where frames go from a network other than to its endpoints.
#[derive(Clone, Default)]
struct Ways {
    host: Option<HostPort>,
    tunnels: BTreeMap<FarEnd, Tunnel>,
    /// Patches to other networks, by those networks' ids.
    patches: BTreeMap<String, PatchEnd>,
    /// The NIC that it is on.
    uplink: Option<LanPort>,
    /// The endpoints on the cluster's other hosts.
    remotes: BTreeMap<Mac, RemotePlace>,
}

impl Ways {
    /// The cluster's hosts that it leads to.
    fn hosts(&self) -> Vec<HostId> {
        let hosts = self.tunnels.keys().filter_map(|far| match far {
            FarEnd::Host(host) => Some(host.clone()),
            FarEnd::Fixed(_) => None,
        });
        hosts.collect()
    }
}

/// Who is at the other end of a tunnel. A host of the cluster is the same wherever it is, and another one at its address is
/// another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FarEnd {
    Host(HostId),
    Fixed(IpAddr),
}

impl fmt::Display for FarEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Fixed(address) => address.fmt(f),
        }
    }
}

#[derive(Clone)]
struct Tunnel {
    port: TunnelPort,
    /// Of the far end.
    address: IpAddr,
}

/// The TAP in the host's namespace that carries the gateway's addresses.
#[derive(Clone)]
struct HostPort {
    link: String,
    port: PortId,
    tap: Arc<OwnedFd>,
}

/// A network's end of a patch.
#[derive(Clone)]
struct PatchEnd {
    port: PortId,
    /// The name of the network at the other end.
    leads_to: String,
    /// What goes wrong on the way; one end has it for both.
    impairment: Option<ImpairmentControl>,
}

/// A network as other owners hold it: it stays whole, though the network may leave meanwhile.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) record: Arc<NetworkRecord>,
    /// Absent where the network has no ports.
    pub(crate) segment: Option<Arc<Segment>>,
    pub(crate) seats: Arc<Seats>,
}

impl Place {
    pub(crate) fn seated(&self) -> Seated {
        Seated {
            record: Arc::clone(&self.record),
            seats: Arc::clone(&self.seats),
        }
    }
}

impl Networks {
    pub(crate) fn new(
        ground: Arc<Ground>,
        filter: Arc<Filter>,
        sharing: Arc<Sharing>,
        ula_global_id: [u8; 5],
    ) -> Self {
        Self {
            ground,
            filter,
            sharing,
            ula_global_id,
            table: Mutex::default(),
            turns: Turns::default(),
            lists: Turns::default(),
            creations: Turns::default(),
            closed: Arc::default(),
            names: Arc::default(),
            subnets: Mutex::new(SubnetWatch::open().ok()),
            memory: Mutex::default(),
            followers: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    /// The network that is called so, by name, id or unique beginning of the id.
    pub(crate) fn find(&self, called: &str) -> Result<Place, Find> {
        let table = lock(&self.table);
        let id = table.id(called)?;
        let network = table.networks.get(&id);
        let network = network.ok_or_else(|| Find::NoNetwork(called.to_owned()))?;
        Ok(network.place())
    }

    /// Why [`Networks::find`] finds nothing.
    pub(crate) fn why_not(&self, called: &str) -> Find {
        let found = self.find(called);
        found
            .err()
            .unwrap_or_else(|| Find::NoNetwork(called.to_owned()))
    }

    /// The network with that very id.
    pub(crate) fn place(&self, id: &str) -> Option<Place> {
        let table = lock(&self.table);
        let network = table.networks.get(id)?;
        (network.stage == Stage::Up).then(|| network.place())
    }

    /// Where each endpoint is.
    pub(crate) fn roll(&self) -> Arc<Roll> {
        Arc::clone(&lock(&self.table).roll)
    }

    /// All of them, by id.
    pub(crate) fn places(&self) -> Vec<Place> {
        lock(&self.table).present().map(Network::place).collect()
    }

    /// Adds what was counted at a port of the network that is gone.
    pub(crate) fn add_gone(&self, id: &str, counts: &PortCounts) {
        self.change(id, |network| network.gone += counts);
    }

    /// One step on a network, whatever its stage; nothing where it is not there.
    fn change<T>(&self, id: &str, change: impl FnOnce(&mut Network) -> T) -> Option<T> {
        lock(&self.table).networks.get_mut(id).map(change)
    }

    /// Waits until no act is going on, or `patience` is over.
    pub(crate) fn finish(&self, patience: Duration) {
        self.turns.settle(patience);
    }
}

impl Table {
    /// Those that are made and do not leave.
    fn present(&self) -> impl Iterator<Item = &Network> {
        self.networks
            .values()
            .filter(|network| network.stage == Stage::Up)
    }

    fn id(&self, called: &str) -> Result<String, Find> {
        let among = |is_cut_off: bool| {
            let present = self.present().map(|network| &network.record);
            let candidates = present.filter(|record| record.is_cut_off() == is_cut_off);
            let candidates = candidates.map(|record| (record.id.as_str(), record.name.as_str()));
            find(candidates, called)
        };
        if let Some(id) = among(false)? {
            return Ok(id);
        }
        if let Some(kept_out) = self.find_kept_out(called) {
            return Err(kept_out.as_error());
        }
        among(true)?.ok_or_else(|| Find::NoNetwork(called.to_owned()))
    }

    /// Whatever its stage: its name is taken.
    fn has_name(&self, name: &str) -> bool {
        self.named().any(|record| record.name == name)
    }

    /// Those that have names and subnets of their own, whatever their stage.
    fn named(&self) -> impl Iterator<Item = &NetworkRecord> + Clone {
        let records = self.networks.values().map(|network| &*network.record);
        records.filter(|record| !record.is_cut_off())
    }
}

impl Network {
    fn place(&self) -> Place {
        Place {
            record: Arc::clone(&self.record),
            segment: self.segment.clone(),
            seats: Arc::clone(&self.seats),
        }
    }

    /// Whether endpoints here may send frames to other hosts over QUIC.
    fn needs_quic(&self) -> bool {
        let shared = self.record.shared();
        shared.is_some_and(|shared| shared.encap == Encap::Quic) && self.seats.are_taken()
    }

    /// Whether it runs without the host port that it should have.
    fn is_closed(&self) -> bool {
        self.record.has_host_link() && self.segment.is_some() && self.ways.host.is_none()
    }
}
