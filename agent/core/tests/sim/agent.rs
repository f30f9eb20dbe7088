//! An agent: what the daemon wires together, one step at a time, so that it may die between any two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use agent_api::EndpointSettings;
use agent_core::endpoint::{self, Attachment, Fresh, Place};
use agent_core::ipam::{Pools, Tenant};
use agent_core::reconcile::{Action, Desired, Found, Sandbox, reconcile};
use agent_core::record::{EndpointRecord, NetworkRecord, Owner};
use agent_core::shared::claims::{self, Claim, Release};
use agent_core::shared::{
    ADDRESSES, ALIVE, AliveRecord, Difference, ENDPOINTS, EndpointShared, Holder, World,
};
use switch_core::Mac;

use super::store::{Change, Refused, Store};

/// What outlives an agent: its records, and the containers with their shims.
pub(crate) struct Disk {
    pub(crate) host: String,
    pub(crate) networks: Vec<NetworkRecord>,
    pub(crate) endpoints: BTreeMap<String, EndpointRecord>,
    /// Containers whose command runs.
    pub(crate) running: BTreeMap<String, i32>,
    /// What the agent knew of the cluster when it wrote that down.
    pub(crate) remembered: Vec<agent_core::shared::Entry>,
    pub(crate) ids: u64,
}

pub(crate) struct Agent {
    pub(crate) world: World,
    /// By network.
    pub(crate) pools: BTreeMap<String, Pools>,
    /// Endpoints that have a port.
    pub(crate) seats: BTreeMap<String, EndpointRecord>,
    /// Those that have addresses, and no port yet.
    coming: BTreeMap<String, EndpointRecord>,
    pub(crate) session: Option<Session>,
    /// Endpoints that lost their address to another host while this one was away.
    pub(crate) cut_off: BTreeSet<String>,
    steps: VecDeque<Step>,
    says_again: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Session {
    pub(crate) lease: u64,
    epoch: u64,
    /// How far the watch has come.
    at: usize,
}

/// What an act has still to do.
enum Step {
    Reserve {
        network: usize,
        container: String,
    },
    Keep(EndpointRecord),
    Plug(EndpointRecord),
    Tell(EndpointRecord),
    /// The seat is gone already; the keys follow.
    Untell(EndpointRecord),
    Free(EndpointRecord),
    TakeBackStrays(usize),
    ShareAgain(EndpointRecord),
    FillReserve(usize),
}

/// What the model is to know.
pub(crate) enum Done {
    Nothing,
    /// The endpoint was promised to whoever asked.
    Attached(String),
    Detached(String),
}

impl Agent {
    /// A start: everything on record is settled before anything else.
    pub(crate) fn start(disk: &mut Disk, now: Instant) -> Self {
        let mut world = World::default();
        world.replace(disk.remembered.clone(), now);
        let pools = |network: &NetworkRecord| (network.id.clone(), Pools::of(network).unwrap());
        let mut agent = Self {
            world,
            pools: disk.networks.iter().map(pools).collect(),
            seats: BTreeMap::new(),
            coming: BTreeMap::new(),
            session: None,
            cut_off: BTreeSet::new(),
            steps: VecDeque::new(),
            says_again: false,
        };
        agent.note_all(disk);
        let desired = Desired {
            networks: disk.networks.clone(),
            endpoints: disk.endpoints.values().cloned().collect(),
            ..Desired::default()
        };
        let found = Found {
            running: disk.running.clone(),
            ..Found::default()
        };
        for action in reconcile(desired, &found) {
            agent.settle(disk, action);
        }
        agent
    }

    fn settle(&mut self, disk: &mut Disk, action: Action) {
        match action {
            Action::PlugAgain { record, sandbox } => {
                assert!(matches!(sandbox, Sandbox::Of(_)));
                let pools = self.pools.get_mut(&record.network).unwrap();
                for address in record.addresses() {
                    pools.unmark(address);
                }
                pools.take_back(&record).unwrap();
                self.seats.insert(record.id.clone(), record);
            }
            Action::ForgetEndpoint { id } => {
                disk.endpoints.remove(&id);
            }
            _ => {}
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.steps.is_empty()
    }

    pub(crate) fn attach(&mut self, network: usize, container: String) {
        self.steps.push_back(Step::Reserve { network, container });
    }

    /// The port goes at once, and with it whoever could use the address.
    pub(crate) fn detach(&mut self, id: &str) {
        if let Some(record) = self.seats.remove(id) {
            self.steps.push_back(Step::Untell(record.clone()));
            self.steps.push_back(Step::Free(record));
        }
    }

    /// A session begins: watch, lease, list, then everything of this host again.
    pub(crate) fn join(&mut self, disk: &Disk, store: &mut Store, (now_ms, now): (u64, Instant)) {
        let at = store.end();
        if let Some(old) = self.session {
            store.keep_alive(old.lease, now_ms + LEASE_MS);
        }
        let lease = store.grant(now_ms + LEASE_MS);
        let alive = AliveRecord {
            address: [10, 0, 0, 1].into(),
            quic_udp_port: None,
            run: "r".to_owned(),
            certificate: None,
        };
        let key = format!("{ALIVE}{}", disk.host);
        let epoch = store.transact(vec![put(key, &alive, None, Some(lease))]);
        let until = now + Duration::from_millis(LEASE_MS);
        let differences = self.world.catch_up(store.list(), &disk.host, (now, until));
        self.follow(disk, differences);
        self.settle_pools(disk);
        self.session = Some(Session {
            lease,
            epoch: epoch.unwrap(),
            at,
        });
        self.begin(disk);
    }

    /// What is said at the beginning of a session, and once more where somebody was not heard.
    fn begin(&mut self, disk: &Disk) {
        self.says_again = false;
        for place in 0..disk.networks.len() {
            self.steps.push_back(Step::TakeBackStrays(place));
            let network = &disk.networks[place].id;
            let held = self.seats.values().chain(self.coming.values());
            let here = held.filter(|record| record.network == *network);
            let again: Vec<_> = here.cloned().map(Step::ShareAgain).collect();
            self.steps.extend(again);
            self.steps.push_back(Step::FillReserve(place));
        }
    }

    /// Hears one thing from the store; false where there is nothing.
    pub(crate) fn hear(&mut self, disk: &Disk, store: &Store, now: Instant) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        match store.next(session.at) {
            Ok(None) => return false,
            Ok(Some(event)) => {
                session.at += 1;
                let difference = self.world.apply(event.clone(), now);
                self.follow(disk, difference.into_iter().collect());
            }
            Err(()) => {
                session.at = store.end();
                let differences = self.world.replace(store.list(), now);
                self.follow(disk, differences);
                self.settle_pools(disk);
            }
        }
        true
    }

    pub(crate) fn handle_timeout(&mut self, disk: &Disk, store: &Store, now: Instant) {
        let differences = self.world.handle_timeout(now);
        self.follow(disk, differences);
        if self.says_again && self.session.is_some() {
            // Of what is to be taken back nobody may have heard yet.
            let differences = self.world.replace(store.list(), now);
            self.follow(disk, differences);
            self.settle_pools(disk);
            self.begin(disk);
        }
    }

    fn follow(&mut self, disk: &Disk, differences: Vec<Difference>) {
        for difference in differences {
            let (entry, is_there) = match &difference {
                Difference::Put(entry) => (entry, true),
                Difference::Deleted(entry) => (entry, false),
            };
            self.note(disk, entry, is_there);
        }
    }

    fn settle_pools(&mut self, disk: &Disk) {
        for (network, pools) in &mut self.pools {
            claims::settle(pools, &self.world, &disk.host, network);
        }
    }

    fn note_all(&mut self, disk: &Disk) {
        let entries: Vec<_> = self.world.entries().cloned().collect();
        entries
            .iter()
            .for_each(|entry| self.note(disk, entry, true));
    }

    fn note(&mut self, disk: &Disk, entry: &agent_core::shared::Entry, is_there: bool) {
        let Some((network, address)) = entry
            .key
            .strip_prefix(ADDRESSES)
            .and_then(|rest| rest.split_once('/'))
        else {
            return;
        };
        let holder: Holder = entry.decode().unwrap();
        let pools = self.pools.get_mut(network).unwrap();
        let holder = is_there.then_some(&holder);
        claims::note(pools, &disk.host, address.parse().unwrap(), holder);
    }

    fn holds(&self, id: &str) -> bool {
        self.seats.contains_key(id) || self.coming.contains_key(id)
    }

    /// One step of the act that is under way. `store` is absent where it is out of reach.
    pub(crate) fn step(&mut self, disk: &mut Disk, store: Option<&mut Store>) -> Done {
        let Some(step) = self.steps.pop_front() else {
            return Done::Nothing;
        };
        // Whoever was not heard says everything again.
        self.says_again |= store.is_none() && self.session.is_some();
        let reached = store.and_then(|store| Some((store, self.session?)));
        match step {
            Step::Reserve { network, container } => {
                if let Some(record) = self.reserve(disk, network, &container, reached) {
                    self.coming.insert(record.id.clone(), record.clone());
                    self.steps.push_front(Step::Keep(record));
                }
            }
            Step::Keep(record) => {
                disk.endpoints.insert(record.id.clone(), record.clone());
                self.steps.push_front(Step::Plug(record));
            }
            Step::Plug(record) => {
                self.coming.remove(&record.id);
                if !disk.running.contains_key(container_of(&record)) {
                    // Its sandbox went meanwhile: all is taken back.
                    self.steps.push_front(Step::Free(record.clone()));
                    self.steps.push_front(Step::Untell(record));
                    return Done::Nothing;
                }
                let id = record.id.clone();
                self.seats.insert(id.clone(), record.clone());
                self.steps.push_front(Step::Tell(record));
                return Done::Attached(id);
            }
            Step::Tell(record) => self.tell(disk, &record, reached),
            Step::Untell(record) => {
                let addresses = record.addresses();
                self.untell(disk, (&record.network, &record.id, &addresses), reached);
            }
            Step::Free(record) => {
                self.free(disk, &record);
                return Done::Detached(record.id);
            }
            Step::TakeBackStrays(place) => self.take_back_strays(disk, place, reached),
            Step::ShareAgain(record) => self.share_again(disk, &record, reached),
            Step::FillReserve(place) => self.fill_reserve(disk, place, reached),
        }
        Done::Nothing
    }

    fn reserve(
        &mut self,
        disk: &mut Disk,
        network: usize,
        container: &str,
        mut reached: Option<(&mut Store, Session)>,
    ) -> Option<EndpointRecord> {
        let network = disk.networks[network].clone();
        let owner = Owner::Container(container.to_owned());
        let settings = EndpointSettings::default();
        for _ in 0..256 {
            disk.ids += 1;
            let name = format!("{}-{}", disk.host, disk.ids);
            let attachment = Attachment {
                owner: owner.clone(),
                path: None,
                name: &name,
                hostname: None,
                dns: &[],
                publish: &[],
                ports_reserved: false,
                link: None,
                settings: &settings,
            };
            let fresh = Fresh {
                id: name.clone(),
                mac: Mac::new([2, 0, 0, 0, 0, 1]),
            };
            let others = self
                .seats
                .values()
                .filter(|other| other.network == network.id);
            let place = Place::of(&[], &owner);
            let pools = self.pools.get_mut(&network.id).unwrap();
            let Some((store, session)) = &mut reached else {
                let kept = claims::reserve_of(&self.world, &disk.host, &network.id);
                let planned = endpoint::plan_from_reserve(
                    &network,
                    pools,
                    &kept,
                    others,
                    &attachment,
                    place,
                    fresh,
                );
                return planned.ok();
            };
            let planned = endpoint::plan(&network, pools, others, &attachment, place, fresh);
            let record = planned.ok()?;
            let claims = claims::claims(&disk.host, &record);
            match store.transact(
                claims
                    .into_iter()
                    .map(|claim| change(claim, Some(session.lease)))
                    .collect(),
            ) {
                Ok(_) => return Some(record),
                Err(Refused::Key(key)) => {
                    pools.release(&record);
                    pools.mark(claims::address_of(&key).unwrap(), Tenant::Elsewhere);
                }
                Err(Refused::LeaseGone | Refused::NoReply) => {
                    pools.release(&record);
                    self.says_again = true;
                    return None;
                }
            }
        }
        None
    }

    fn tell(
        &mut self,
        disk: &Disk,
        record: &EndpointRecord,
        reached: Option<(&mut Store, Session)>,
    ) {
        if !self.seats.contains_key(&record.id) {
            return;
        }
        if let Some((store, session)) = reached
            && store
                .transact(vec![telling(disk, record, session)])
                .is_err()
        {
            self.says_again = true;
        }
    }

    fn untell(
        &mut self,
        disk: &Disk,
        (network, endpoint, addresses): (&str, &str, &[IpAddr]),
        reached: Option<(&mut Store, Session)>,
    ) {
        let Some((store, _)) = reached else { return };
        let key = format!("{ENDPOINTS}{network}/{endpoint}");
        self.says_again |= store.transact(vec![delete(key, None)]).is_err();
        for address in addresses {
            let key = claims::address_key(network, *address);
            let Some(entry) = store.get(&key) else {
                continue;
            };
            let holder: Holder = entry.decode().unwrap();
            let before = Some(claims::Before::Revision(entry.revision));
            let change = match holder.release(&disk.host, endpoint) {
                Release::Leave => continue,
                Release::Delete => delete(key, before),
                Release::ToReserve(holder) => put(key, &holder, before, None),
            };
            self.says_again |= store.transact(vec![change]).is_err();
        }
    }

    fn free(&mut self, disk: &mut Disk, record: &EndpointRecord) {
        disk.endpoints.remove(&record.id);
        self.cut_off.remove(&record.id);
        let pools = self.pools.get_mut(&record.network).unwrap();
        pools.release(record);
        for address in record.addresses() {
            claims::note_freed(pools, &self.world, &disk.host, &record.network, address);
        }
    }

    fn take_back_strays(
        &mut self,
        disk: &Disk,
        place: usize,
        mut reached: Option<(&mut Store, Session)>,
    ) {
        let network = &disk.networks[place].id;
        let strays = claims::strays(&self.world, &disk.host, network, |id| self.holds(id));
        for (endpoint, addresses) in strays {
            let again = reached
                .as_mut()
                .map(|(store, session)| (&mut **store, *session));
            self.untell(disk, (network, &endpoint, &addresses), again);
        }
    }

    fn share_again(
        &mut self,
        disk: &Disk,
        record: &EndpointRecord,
        reached: Option<(&mut Store, Session)>,
    ) {
        let Some((store, session)) = reached else {
            return;
        };
        if !self.holds(&record.id) {
            return;
        }
        let mut changes: Vec<Change> = claims::claims_again(&self.world, &disk.host, record)
            .into_iter()
            .map(|claim| change(claim, Some(session.lease)))
            .collect();
        changes.push(telling(disk, record, session));
        if store.transact(changes).is_ok() {
            self.cut_off.remove(&record.id);
            return;
        }
        for wanted in claims::claims(&disk.host, record) {
            let held = store.get(&wanted.key);
            let held = held.map(|entry| (entry.decode().unwrap(), entry.revision));
            let Some(claim) = claims::claim_again(wanted, held) else {
                self.cut_off.insert(record.id.clone());
                return;
            };
            if store
                .transact(vec![change(claim, Some(session.lease))])
                .is_err()
            {
                self.says_again = true;
                return;
            }
        }
        self.cut_off.remove(&record.id);
        if store
            .transact(vec![telling(disk, record, session)])
            .is_err()
        {
            self.says_again = true;
        }
    }

    fn fill_reserve(&mut self, disk: &Disk, place: usize, reached: Option<(&mut Store, Session)>) {
        let Some((store, _)) = reached else { return };
        let network = &disk.networks[place].id;
        let kept = claims::reserve_of(&self.world, &disk.host, network).len();
        let pools = self.pools.get_mut(network).unwrap();
        for _ in 0..256 {
            let free = pools
                .v4
                .as_ref()
                .unwrap()
                .highest_free(RESERVE.saturating_sub(kept));
            if free.is_empty() {
                return;
            }
            let claims = claims::reserves(&disk.host, network, &free);
            match store.transact(
                claims
                    .into_iter()
                    .map(|claim| change(claim, None))
                    .collect(),
            ) {
                Ok(_) => {
                    free.into_iter()
                        .for_each(|address| pools.mark(address, Tenant::Reserve));
                    return;
                }
                Err(Refused::Key(key)) => {
                    pools.mark(claims::address_of(&key).unwrap(), Tenant::Elsewhere);
                }
                Err(Refused::LeaseGone | Refused::NoReply) => return self.says_again = true,
            }
        }
    }
}

pub(crate) fn container_of(record: &EndpointRecord) -> &str {
    match &record.owner {
        Owner::Container(id) => id,
        other => panic!("{other:?} owns nothing here"),
    }
}

fn telling(disk: &Disk, record: &EndpointRecord, session: Session) -> Change {
    let shared = EndpointShared {
        host: disk.host.clone(),
        epoch: session.epoch,
        sequence: 1,
        mac: record.mac,
        ipv4: record.ipv4,
        ipv6: record.ipv6,
        name: record.name.clone(),
        aliases: Vec::new(),
        hostname: None,
        short_id: None,
        services: Vec::new(),
    };
    let key = format!("{ENDPOINTS}{}/{}", record.network, record.id);
    put(key, &shared, None, Some(session.lease))
}

fn change(claim: Claim, lease: Option<u64>) -> Change {
    put(claim.key, &claim.holder, Some(claim.before), lease)
}

fn put(
    key: String,
    value: &impl serde::Serialize,
    before: Option<claims::Before>,
    lease: Option<u64>,
) -> Change {
    Change {
        key,
        before,
        value: Some(serde_json::to_value(value).unwrap()),
        lease,
    }
}

fn delete(key: String, before: Option<claims::Before>) -> Change {
    Change {
        key,
        before,
        value: None,
        lease: None,
    }
}

pub(crate) const LEASE_MS: u64 = 10_000;
/// Addresses that a host keeps in a network.
const RESERVE: usize = 2;
