//! Seats: who is on a network, with which name, MAC and addresses.
//!
//! A network hands its seats out; only [`crate::endpoints`] changes who has them. An endpoint that is coming has its seat
//! already, and one that is going keeps it until nothing of it is left.

mod addresses;
mod attached;
mod roll;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) use agent_core::endpoint::Past;
use agent_core::endpoint::{self, Attach, Attachment, Fresh};
use agent_core::ipam::{AllocateAddress, Pools};
use agent_core::record::{EndpointRecord, NetnsId, NetworkRecord, Owner, endpoint_key};
use agent_core::shared::holdings::Withheld;
use agent_host::netlink::NetnsNumber;
use switch_core::{Mac, PortId};
use switch_io::{ImpairmentControl, RateControl};

pub(crate) use self::attached::{Attached, Plug, Seated, Users};
pub(crate) use self::roll::Roll;
use crate::journal::{Journal, Kept};
use crate::locks::lock;

/// The endpoints of one network on this host.
pub(crate) struct Seats {
    table: Mutex<Table>,
    roll: Arc<Roll>,
}

struct Table {
    pools: Pools,
    past: Past,
    /// By id.
    endpoints: BTreeMap<String, Endpoint>,
    /// Blocks that are being given away.
    withheld: Withheld,
    /// The network is about to go, and takes nobody.
    is_closed: bool,
}

struct Endpoint {
    record: Arc<EndpointRecord>,
    stage: Stage,
    plug: Plug,
    /// Why it has no part in the network.
    cut_off: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Reserved: being attached.
    Coming,
    There,
    /// Being detached: it keeps its addresses until nothing of it is left.
    Going,
}

impl Seats {
    /// Those who are on the network are on the roll.
    pub(crate) fn new(pools: Pools, past: Past, roll: Arc<Roll>) -> Self {
        let table = Mutex::new(Table {
            pools,
            past,
            endpoints: BTreeMap::new(),
            withheld: Withheld::default(),
            is_closed: false,
        });
        Self { table, roll }
    }

    /// Those that are attached.
    pub(crate) fn attached(&self) -> Vec<Attached> {
        let table = lock(&self.table);
        table.there().map(Endpoint::seen).collect()
    }

    pub(crate) fn attached_of(&self, owner: &Owner) -> Vec<Attached> {
        let table = lock(&self.table);
        let own = table
            .there()
            .filter(|endpoint| endpoint.record.owner == *owner);
        own.map(Endpoint::seen).collect()
    }

    /// Those of them that `is_wanted`.
    pub(crate) fn attached_by(
        &self,
        is_wanted: impl Fn(&EndpointRecord, &Plug) -> bool,
    ) -> Vec<Attached> {
        let table = lock(&self.table);
        let wanted = table
            .there()
            .filter(|endpoint| is_wanted(&endpoint.record, &endpoint.plug));
        wanted.map(Endpoint::seen).collect()
    }

    /// Where links are heard of that were attached.
    pub(crate) fn attended(&self) -> Vec<(NetnsNumber, u32)> {
        let table = lock(&self.table);
        table
            .there()
            .filter_map(|endpoint| endpoint.plug.place)
            .collect()
    }

    /// The sandboxes that somebody else made, by the paths by which they are known.
    pub(crate) fn foreign_sandboxes(&self) -> Vec<(NetnsId, Option<PathBuf>)> {
        let table = lock(&self.table);
        let foreign = table
            .there()
            .filter_map(|endpoint| match endpoint.record.owner {
                Owner::Sandbox(sandbox) => Some((sandbox, endpoint.record.sandbox.clone())),
                Owner::Container(_) | Owner::Engine(_) => None,
            });
        foreign.collect()
    }

    /// Whether there is one, be it coming or going.
    pub(crate) fn has(&self, id: &str) -> bool {
        lock(&self.table).endpoints.contains_key(id)
    }

    pub(crate) fn get(&self, id: &str) -> Option<Attached> {
        let table = lock(&self.table);
        let endpoint = table.endpoints.get(id)?;
        (endpoint.stage == Stage::There).then(|| endpoint.seen())
    }

    /// The endpoint's port, whatever its stage.
    pub(crate) fn port(&self, id: &str) -> Option<PortId> {
        lock(&self.table).endpoints.get(id)?.plug.port
    }

    /// Those that have a port, also before they are attached and until nothing is left of them.
    pub(crate) fn plugged(&self) -> Vec<(Arc<EndpointRecord>, Plug)> {
        let table = lock(&self.table);
        let endpoints = table.endpoints.values();
        let plugged = endpoints.filter(|endpoint| endpoint.plug.port.is_some());
        plugged
            .map(|endpoint| (Arc::clone(&endpoint.record), endpoint.plug.clone()))
            .collect()
    }

    /// The ports of all endpoints, whatever their stage, by the endpoints' ids.
    pub(crate) fn ports(&self) -> Vec<(String, PortId)> {
        let table = lock(&self.table);
        let ports = table
            .endpoints
            .iter()
            .filter_map(|(id, endpoint)| Some((id.clone(), endpoint.plug.port?)));
        ports.collect()
    }

    /// One that is not attached yet, with whatever is plugged of it.
    pub(crate) fn coming(&self, id: &str) -> Option<Attached> {
        let table = lock(&self.table);
        let endpoint = table.endpoints.get(id)?;
        (endpoint.stage == Stage::Coming).then(|| endpoint.seen())
    }

    /// The endpoint that has the port.
    pub(crate) fn behind(&self, port: PortId) -> Option<Attached> {
        let table = lock(&self.table);
        let mut there = table.there();
        there
            .find(|endpoint| endpoint.plug.port == Some(port))
            .map(Endpoint::seen)
    }

    /// The port of the endpoint that has the MAC.
    pub(crate) fn port_of(&self, mac: Mac) -> Option<PortId> {
        let table = lock(&self.table);
        let mut there = table.there();
        let own = there.find(|endpoint| endpoint.record.mac == mac.octets())?;
        own.plug.port
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.table).endpoints.len()
    }

    pub(crate) fn are_free(&self) -> bool {
        lock(&self.table).endpoints.is_empty()
    }

    /// Whether anybody is there or coming.
    pub(crate) fn are_taken(&self) -> bool {
        let table = lock(&self.table);
        let mut endpoints = table.endpoints.values();
        endpoints.any(|endpoint| endpoint.stage != Stage::Going)
    }

    /// The records of those that are there or coming: what this host holds addresses for.
    pub(crate) fn records(&self) -> Vec<Arc<EndpointRecord>> {
        let table = lock(&self.table);
        let endpoints = table.endpoints.values();
        let held = endpoints.filter(|endpoint| endpoint.stage != Stage::Going);
        held.map(|endpoint| Arc::clone(&endpoint.record)).collect()
    }

    /// Takes nobody from now on, unless somebody is there.
    pub(crate) fn close(&self) -> Result<(), Users> {
        let mut table = lock(&self.table);
        if table.endpoints.is_empty() {
            table.is_closed = true;
            return Ok(());
        }
        let users = table.endpoints.values();
        let users = users.map(|endpoint| endpoint.record.name.clone());
        Err(Users(users.take(Users::SHOWN_MAX).collect()))
    }

    /// Takes nobody from now on, whoever is there.
    pub(crate) fn shut(&self) {
        lock(&self.table).is_closed = true;
    }

    pub(crate) fn reopen(&self) {
        lock(&self.table).is_closed = false;
    }

    /// Checks the wishes, takes the addresses and keeps the seat; the endpoint is [`Stage::Coming`].
    pub(crate) fn reserve(
        &self,
        network: &NetworkRecord,
        attachment: &Attachment<'_>,
        place: endpoint::Place,
        fresh: Fresh,
    ) -> Result<EndpointRecord, Attach> {
        self.plan(network, |table| {
            table.pools.wake(Instant::now());
            let others = table.endpoints.values().map(|endpoint| &*endpoint.record);
            endpoint::plan(network, &mut table.pools, others, attachment, place, fresh)
        })
    }

    fn plan(
        &self,
        network: &NetworkRecord,
        plan: impl FnOnce(&mut Table) -> Result<EndpointRecord, Attach>,
    ) -> Result<EndpointRecord, Attach> {
        let mut table = lock(&self.table);
        if table.is_closed {
            return Err(Attach::Gone(network.name.clone()));
        }
        let record = plan(&mut table)?;
        self.come(&mut table, record.clone());
        Ok(record)
    }

    /// Takes up an endpoint that is on record, at the start of the agent.
    pub(crate) fn take_back(&self, record: &EndpointRecord) -> Result<(), AllocateAddress> {
        let mut table = lock(&self.table);
        table.pools.take_back(record)?;
        self.come(&mut table, record.clone());
        Ok(())
    }

    fn come(&self, table: &mut Table, record: EndpointRecord) {
        self.roll.enter(&record);
        let coming = Endpoint {
            record: Arc::new(record),
            stage: Stage::Coming,
            plug: Plug::default(),
            cut_off: None,
        };
        table.endpoints.insert(coming.record.id.clone(), coming);
    }

    /// What was plugged belongs to the seat, and goes with it.
    pub(crate) fn plug(&self, id: &str, plug: Plug) {
        if let Some(endpoint) = lock(&self.table).endpoints.get_mut(id) {
            endpoint.plug = plug;
        }
    }

    /// That goes wrong at the endpoint's port from now on, or nothing.
    pub(crate) fn impair(&self, id: &str, impairment: Option<ImpairmentControl>) {
        if let Some(endpoint) = lock(&self.table).endpoints.get_mut(id) {
            endpoint.plug.impairment = impairment;
        }
    }

    /// The endpoint's port has these rates from now on, or none.
    pub(crate) fn limit(&self, id: &str, rate: Option<RateControl>) {
        if let Some(endpoint) = lock(&self.table).endpoints.get_mut(id) {
            endpoint.plug.rate = rate;
        }
    }

    /// The endpoint's sandbox is heard of by that number, and the link has that index in it.
    pub(crate) fn attend(&self, id: &str, place: (NetnsNumber, u32)) {
        if let Some(endpoint) = lock(&self.table).endpoints.get_mut(id) {
            endpoint.plug.place = Some(place);
        }
    }

    /// Notes what is changed at the endpoint's link. Whether that is news.
    pub(crate) fn note_changed(&self, id: &str, changed: &[String]) -> bool {
        let mut table = lock(&self.table);
        let Some(endpoint) = table.endpoints.get_mut(id) else {
            return false;
        };
        let is_news = endpoint.plug.changed != changed;
        endpoint.plug.changed = changed.to_vec();
        is_news
    }

    /// The endpoint is attached. Where its record had no link's name it has now.
    pub(crate) fn seat(&self, id: &str, journal: &Journal) -> Option<Kept> {
        let mut table = lock(&self.table);
        let endpoint = table.endpoints.get_mut(id)?;
        endpoint.stage = Stage::There;
        if endpoint.record.link.is_some() {
            return None;
        }
        Arc::make_mut(&mut endpoint.record).link = Some(endpoint.plug.link.clone());
        Some(journal.put(&endpoint_key(id), &*endpoint.record))
    }

    /// Changes the record of an endpoint that is attached, and keeps it.
    pub(crate) fn change(
        &self,
        id: &str,
        journal: &Journal,
        change: impl FnOnce(&mut EndpointRecord),
    ) -> Option<Kept> {
        let mut table = lock(&self.table);
        let endpoint = table.endpoints.get_mut(id)?;
        if endpoint.stage != Stage::There {
            return None;
        }
        change(Arc::make_mut(&mut endpoint.record));
        Some(journal.put(&endpoint_key(id), &*endpoint.record))
    }

    /// The same of one that may be called otherwise then, where nobody else is called so.
    pub(crate) fn rename(
        &self,
        network: &NetworkRecord,
        after: &EndpointRecord,
        journal: &Journal,
    ) -> Result<Kept, Attach> {
        let mut table = lock(&self.table);
        let others = table.endpoints.values().map(|other| &*other.record);
        let others = others.filter(|other| other.id != after.id);
        endpoint::check_names(network, others, &after.name, &after.aliases)?;
        if let Some(endpoint) = table.endpoints.get_mut(&after.id) {
            endpoint.record = Arc::new(after.clone());
        }
        Ok(journal.put(&endpoint_key(&after.id), after))
    }

    /// The endpoint is about to go: nobody sees it any more, its addresses are still its own. Whatever there is of it.
    pub(crate) fn go(&self, id: &str) -> Option<Attached> {
        let mut table = lock(&self.table);
        let endpoint = table.endpoints.get_mut(id)?;
        if endpoint.stage == Stage::Going {
            return None;
        }
        endpoint.stage = Stage::Going;
        Some(endpoint.seen())
    }

    /// Undoes [`Self::go`].
    pub(crate) fn stay(&self, id: &str) {
        if let Some(endpoint) = lock(&self.table).endpoints.get_mut(id) {
            endpoint.stage = Stage::There;
        }
    }

    /// Nothing of the endpoint is left, nor shall be of its record: its seat is free. Where hosts share the network, its addresses
    /// rest.
    pub(crate) fn free(&self, id: &str) {
        let mut table = lock(&self.table);
        if let Some(endpoint) = table.endpoints.remove(id) {
            self.roll.strike(&endpoint.record);
            table.pools.retire(&endpoint.record, Instant::now() + REST);
        }
    }

    /// Gives a seat back of which nothing is on record yet.
    pub(crate) fn unreserve(&self, record: &EndpointRecord) {
        let mut table = lock(&self.table);
        if let Some(endpoint) = table.endpoints.remove(&record.id) {
            self.roll.strike(&endpoint.record);
            table.pools.release(record);
        }
    }

    /// Notes why an endpoint has no part in its network, or that it has. Whether that is news.
    pub(crate) fn cut_off(&self, id: &str, why: Option<String>) -> bool {
        let mut table = lock(&self.table);
        let Some(endpoint) = table.endpoints.get_mut(id) else {
            return false;
        };
        let is_news = endpoint.cut_off.is_some() != why.is_some();
        endpoint.cut_off = why;
        is_news
    }

    /// The endpoint with this MAC, and whether it has no part in its network.
    pub(crate) fn with_mac(&self, mac: [u8; 6]) -> Option<(Arc<EndpointRecord>, bool)> {
        let table = lock(&self.table);
        let mut all = table.endpoints.values();
        let found = all.find(|endpoint| endpoint.record.mac == mac)?;
        Some((Arc::clone(&found.record), found.cut_off.is_some()))
    }

    /// Asks what neighbours may remember of the network's addresses.
    pub(crate) fn with_past<T>(&self, ask: impl FnOnce(&mut Past) -> T) -> T {
        ask(&mut lock(&self.table).past)
    }

    /// Keeps the paths that lead to sandboxes now, in place of those that do not any more.
    pub(crate) fn follow_sandboxes(&self, found: &BTreeMap<NetnsId, PathBuf>, journal: &Journal) {
        for attached in self.attached() {
            let Owner::Sandbox(sandbox) = attached.record.owner else {
                continue;
            };
            if let Some(path) = found.get(&sandbox) {
                let kept = self.change(&attached.record.id, journal, |record| {
                    record.sandbox = Some(path.clone());
                });
                if let Some(Err(error)) = kept.map(Kept::wait) {
                    tracing::warn!(endpoint = attached.record.name, %error, "an endpoint will not come back after a restart");
                }
            }
        }
    }
}

impl Table {
    fn there(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints
            .values()
            .filter(|endpoint| endpoint.stage == Stage::There)
    }
}

impl Endpoint {
    fn seen(&self) -> Attached {
        Attached {
            record: Arc::clone(&self.record),
            plug: self.plug.clone(),
            cut_off: self.cut_off.clone(),
        }
    }
}

/// Caches of neighbours forget an address within a minute.
const REST: Duration = Duration::from_secs(60);
