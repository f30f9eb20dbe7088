//! Endpoints: giving a sandbox its place on a network, and taking it away.
//!
//! # Theory of operation
//!
//! An endpoint is reserved in its network's [`crate::seats`] with its name, MAC and addresses, put on record, plugged, and seated; what
//! was reserved is given back after any failure, by the same steps that detach an endpoint ([`detach`]). It keeps its seat until
//! nothing of it is left, so that nobody else gets its addresses before connections to them are forgotten.
//!
//! All acts on one sandbox's endpoints come one after the other, by their owner's turn: so ranks and link names in a sandbox are
//! never given twice.

mod adopt;
mod announce;
mod attach;
mod cut_off;
mod detach;
mod hand_over;
mod inside;
mod labels;
mod leases;
mod links;
mod lost_address;
mod moved;
mod plug;
mod port_settings;
mod port_state;
mod publish;
mod rates;
mod restore;
mod sandboxes;
mod settings;
mod stray;
mod update;
mod zones;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_api::{ApiError, EndpointDetail};
use agent_core::endpoint::Attach;
use agent_core::find::Find;
use agent_core::record::Owner;
use agent_host::{Netns, netns_id};

use self::stray::Strays;

pub(crate) use self::sandboxes::leads_to;

use crate::edge::Company;
use crate::ground::Ground;
use crate::latency::{Distribution, Latency};
use crate::networks::{Networks, Place};
use crate::publishing::{Filter, Publishing};
use crate::seats::Attached;
use crate::sharing::Sharing;
use crate::turns::Turns;

/// The endpoints of this host.
pub(crate) struct Endpoints {
    ground: Arc<Ground>,
    filter: Arc<Filter>,
    publishing: Arc<Publishing>,
    sharing: Arc<Sharing>,
    networks: Arc<Networks>,
    turns: Turns<Owner>,
    /// What each sandbox is on.
    companies: Mutex<BTreeMap<Owner, Arc<Company>>>,
    strays: Strays,
    leases: leases::Leases,
    /// Somebody asks for the addresses of those that are cut off.
    is_mending: AtomicBool,
    /// What attaching took, where it succeeded, and how often it did not.
    attaching: Latency,
    attach_failures: AtomicU64,
}

impl Endpoints {
    pub(crate) fn new(
        ground: Arc<Ground>,
        filter: Arc<Filter>,
        publishing: Arc<Publishing>,
        sharing: Arc<Sharing>,
        networks: Arc<Networks>,
    ) -> Self {
        Self {
            ground,
            filter,
            publishing,
            sharing,
            networks,
            turns: Turns::default(),
            companies: Mutex::default(),
            strays: Strays::default(),
            leases: leases::Leases::default(),
            is_mending: AtomicBool::new(false),
            attaching: Latency::default(),
            attach_failures: AtomicU64::new(0),
        }
    }

    pub(crate) fn list(&self) -> Vec<EndpointDetail> {
        let all = self.all();
        let details = all
            .iter()
            .map(|(place, attached)| attached.detail(&place.record));
        details.collect()
    }

    /// Every endpoint, with its network.
    fn all(&self) -> Vec<(Place, Attached)> {
        let mut all = Vec::new();
        for place in self.networks.places() {
            let attached = place.seats.attached().into_iter();
            all.extend(attached.map(|attached| (place.clone(), attached)));
        }
        all
    }

    /// The endpoints of a sandbox, each with its network, in the order in which they came.
    pub(crate) fn of(&self, owner: &Owner) -> Vec<(Place, Attached)> {
        let on = self.networks.roll().of(owner).into_iter();
        on.filter_map(|(id, network)| {
            let place = self.networks.place(&network)?;
            let attached = place.seats.get(&id)?;
            Some((place, attached))
        })
        .collect()
    }

    /// How long attaching took, and how often it failed, since the agent started.
    pub(crate) fn attaches(&self) -> (Distribution, u64) {
        let failures = self.attach_failures.load(Ordering::Relaxed);
        (self.attaching.seen(), failures)
    }

    pub(crate) fn attached(&self) -> usize {
        let places = self.networks.places();
        places.iter().map(|place| place.seats.len()).sum()
    }

    /// Waits until no act is going on, or `patience` is over.
    pub(crate) fn finish(&self, patience: Duration) {
        self.turns.settle(patience);
    }

    /// Whether there is an endpoint with that id, be it coming or going.
    fn has(&self, id: &str) -> bool {
        self.networks.roll().network_of(id).is_some()
    }

    /// The network of an endpoint, and the endpoint.
    fn find(&self, id: &str) -> Result<(Place, Attached), ApiError> {
        let found = || {
            let network = self.networks.roll().network_of(id)?;
            let place = self.networks.place(&network)?;
            let attached = place.seats.get(id)?;
            Some((place, attached))
        };
        found().ok_or_else(|| Find::NoEndpoint(id.to_owned()).into())
    }

    /// Whose namespace the path leads to, or did when it was used to attach it; `owner_of` knows the containers'.
    pub(crate) fn owner_at(
        &self,
        path: &Path,
        owner_of: impl FnOnce(agent_core::record::NetnsId) -> Owner,
    ) -> Option<Owner> {
        let there = netns_id(path).ok().map(owner_of);
        there
            .filter(|owner| !self.of(owner).is_empty())
            .or_else(|| {
                let mut all = self.all().into_iter();
                let (_, attached) =
                    all.find(|(_, attached)| attached.record.sandbox.as_deref() == Some(path))?;
                Some(attached.record.owner.clone())
            })
    }
}

/// The namespace of a sandbox, which must not be the host's.
pub(crate) fn open_sandbox(path: &Path) -> Result<Netns, Attach> {
    let netns = Netns::open(path).map_err(|error| Attach::Sandbox(error.to_string()))?;
    if netns.is_own() {
        return Err(Attach::OwnSandbox(path.to_owned()));
    }
    Ok(netns)
}

/// `/proc/<pid>/ns/net`: the sandbox of a process.
pub(crate) fn sandbox_of(pid: i32) -> std::path::PathBuf {
    format!("/proc/{pid}/ns/net").into()
}
