//! An agent: what the daemon wires together, one step at a time, so that it may die between any two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use agent_api::EndpointSettings;
use agent_core::endpoint::{self, Attach, Attachment, Fresh, Place};
use agent_core::ipam::{AllocateAddress, Pool, Pools};
use agent_core::reconcile::{Action, Desired, Found, Sandbox, reconcile};
use agent_core::record::{EndpointRecord, NetworkRecord, Owner};
use agent_core::shared::asks::Ask;
use agent_core::shared::before::Before;
use agent_core::shared::blocks::{Blocks, WritePage, check_page, network_of};
use agent_core::shared::holdings::{Way, Wish, Withheld, part_to_give, surplus, wanted, way};
use agent_core::shared::{
    ALIVE, ASKS, AliveRecord, AskRecord, BLOCKS, Difference, ENDPOINTS, EndpointShared, Entry,
    Event, Moment, World, others,
};
use ipnet::IpNet;
use switch_core::Mac;

use super::store::{Change, Refused, Store};

/// What outlives an agent: its records, and the containers with their shims.
pub(crate) struct Disk {
    pub(crate) host: String,
    pub(crate) networks: Vec<NetworkRecord>,
    pub(crate) endpoints: BTreeMap<String, EndpointRecord>,
    /// What it may give addresses out of, by network.
    pub(crate) owned: BTreeMap<String, Vec<IpNet>>,
    /// Containers whose command runs.
    pub(crate) running: BTreeMap<String, i32>,
    /// What the agent knew of the cluster when it wrote that down.
    pub(crate) remembered: Vec<Entry>,
    pub(crate) ids: u64,
}

pub(crate) struct Agent {
    pub(crate) world: World,
    /// By network.
    pub(crate) pools: BTreeMap<String, Pools>,
    withheld: BTreeMap<String, Withheld>,
    /// Endpoints that have a port.
    pub(crate) seats: BTreeMap<String, EndpointRecord>,
    /// Those that have addresses, and no port yet.
    coming: BTreeMap<String, EndpointRecord>,
    pub(crate) session: Option<Session>,
    /// Endpoints whose address another host owns.
    pub(crate) cut_off: BTreeSet<String>,
    steps: VecDeque<Step>,
    /// What other hosts have asked for, which waits for no act of this one.
    answers: VecDeque<Answer>,
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
        /// Who was asked for an address in vain.
        asked: Vec<String>,
    },
    AwaitAnswer {
        network: usize,
        container: String,
        asked: Vec<String>,
        ask: String,
        until: Instant,
    },
    Keep(EndpointRecord),
    Plug(EndpointRecord),
    Tell(EndpointRecord),
    /// The seat is gone already; the keys follow.
    Untell(EndpointRecord),
    Free(EndpointRecord),
    TakeBackStrays(usize),
    Hold(EndpointRecord),
    Tend(usize),
    GiveBack {
        network: usize,
        block: IpNet,
        page: WritePage,
    },
}

enum Answer {
    Look(Entry),
    /// It is withheld, and on record as nobody's of this host.
    Give {
        ask: Entry,
        network: usize,
        part: IpNet,
        page: WritePage,
    },
}

/// What the model is to know.
pub(crate) enum Done {
    Nothing,
    /// The endpoint was promised to whoever asked.
    Attached(String),
    Detached(String),
}

/// How writing a page ended.
#[derive(PartialEq)]
enum Written {
    Yes,
    No,
    /// Nobody knows.
    Lost,
}

impl Agent {
    /// A start: everything on record is settled before anything else.
    pub(crate) fn start(disk: &mut Disk, now: Instant) -> Self {
        let mut world = World::default();
        world.replace(disk.remembered.clone(), &Moment::alone(now));
        let pools = |network: &NetworkRecord| {
            let mut pools = Pools::of(network).unwrap();
            let owned = disk.owned.get(&network.id).cloned();
            pools.own(&owned.unwrap_or_default());
            others::settle(&mut pools, &world, &disk.host, &network.id);
            (network.id.clone(), pools)
        };
        let mut agent = Self {
            pools: disk.networks.iter().map(pools).collect(),
            world,
            withheld: BTreeMap::new(),
            seats: BTreeMap::new(),
            coming: BTreeMap::new(),
            session: None,
            cut_off: BTreeSet::new(),
            steps: VecDeque::new(),
            answers: VecDeque::new(),
            says_again: false,
        };
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
        !self.steps.is_empty() || !self.answers.is_empty()
    }

    pub(crate) fn attach(&mut self, network: usize, container: String) {
        self.steps.push_back(Step::Reserve {
            network,
            container,
            asked: Vec::new(),
        });
    }

    /// The port goes at once, and with it whoever could use the address.
    pub(crate) fn detach(&mut self, id: &str) {
        if let Some(record) = self.seats.remove(id) {
            self.steps.push_back(Step::Untell(record.clone()));
            self.steps.push_back(Step::Free(record));
        }
    }

    /// A session begins: watch, lease, list, then everything of this host again.
    pub(crate) fn join(
        &mut self,
        disk: &mut Disk,
        store: &mut Store,
        now_ms: u64,
        at: &Moment<'_>,
    ) {
        let watched = store.end();
        if let Some(old) = self.session {
            store.keep_alive(old.lease, now_ms + LEASE_MS);
        }
        let lease = store.grant(now_ms + LEASE_MS);
        let alive = AliveRecord {
            address: [10, 0, 0, 1].into(),
            inside: None,
            quic_udp_port: None,
            run: "r".to_owned(),
            certificate: None,
        };
        let key = format!("{ALIVE}{}", disk.host);
        let epoch = store.transact(vec![put(key, &alive, None, Some(lease))]);
        let until = at.now + Duration::from_millis(LEASE_MS);
        let differences = self.world.catch_up(store.list(), &disk.host, (at, until));
        self.follow(disk, differences);
        self.settle_all(disk);
        self.session = Some(Session {
            lease,
            epoch: epoch.unwrap(),
            at: watched,
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
            let again: Vec<_> = here.cloned().map(Step::Hold).collect();
            self.steps.extend(again);
            self.steps.push_back(Step::Tend(place));
        }
        let asks = self
            .world
            .entries()
            .filter(|entry| entry.key.starts_with(ASKS));
        self.answers.extend(asks.cloned().map(Answer::Look));
    }

    /// As time passes.
    pub(crate) fn tend(&mut self, disk: &Disk) {
        if self.steps.is_empty() && self.session.is_some() {
            self.steps.extend((0..disk.networks.len()).map(Step::Tend));
        }
    }

    /// Hears one thing from the store; false where there is nothing.
    pub(crate) fn hear(&mut self, disk: &mut Disk, store: &Store, at: &Moment<'_>) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        match store.next(session.at) {
            Ok(None) => return false,
            Ok(Some(event)) => {
                session.at += 1;
                let difference = self.world.apply(event.clone(), at);
                self.follow(disk, difference.into_iter().collect());
            }
            Err(()) => {
                session.at = store.end();
                let differences = self.world.replace(store.list(), at);
                self.follow(disk, differences);
                self.settle_all(disk);
            }
        }
        true
    }

    pub(crate) fn handle_timeout(&mut self, disk: &mut Disk, store: &Store, at: &Moment<'_>) {
        let differences = self.world.handle_timeout(at);
        self.follow(disk, differences);
        if self.says_again && self.session.is_some() {
            // Of what is to be taken back nobody may have heard yet.
            let differences = self.world.replace(store.list(), at);
            self.follow(disk, differences);
            self.settle_all(disk);
            self.begin(disk);
        }
    }

    fn follow(&mut self, disk: &mut Disk, differences: Vec<Difference>) {
        for difference in differences {
            let (entry, is_there) = match &difference {
                Difference::Put(entry) => (entry, true),
                Difference::Deleted(entry) => (entry, false),
            };
            if let Some(network) = network_of(entry) {
                if self.session.is_some() {
                    self.settle_blocks(disk, network);
                    self.says_again |= self.is_out_of_place(network);
                }
            } else if let Some(rest) = entry.key.strip_prefix(ENDPOINTS) {
                let (network, _) = rest.split_once('/').unwrap();
                let shared: EndpointShared = entry.decode().unwrap();
                let pools = self.pools.get_mut(network).unwrap();
                others::note(pools, &self.world, &disk.host, &shared, is_there);
            } else if entry.key.starts_with(ASKS) && is_there && self.session.is_some() {
                self.answers.push_back(Answer::Look(entry.clone()));
            }
        }
    }

    fn settle_all(&mut self, disk: &mut Disk) {
        for network in disk.networks.clone() {
            let pools = self.pools.get_mut(&network.id).unwrap();
            others::settle(pools, &self.world, &disk.host, &network.id);
            self.settle_blocks(disk, &network.id);
        }
    }

    fn settle_blocks(&mut self, disk: &mut Disk, network: &str) {
        let withheld = self.withheld.entry(network.to_owned()).or_default();
        let pools = self.pools.get_mut(network).unwrap();
        let blocks = Blocks::of(&self.world, network, pools.v4.as_ref().unwrap().subnet());
        let own = withheld.own(&blocks, &disk.host);
        pools.own(&own);
        disk.owned.insert(network.to_owned(), own);
    }

    fn is_out_of_place(&self, network: &str) -> bool {
        let own = self.pools[network].owned();
        let here = self
            .seats
            .values()
            .filter(|record| record.network == network);
        let mut here = here.map(|record| (record, record.addresses()));
        here.any(|(record, addresses)| {
            let mut addresses = addresses.iter();
            let is_own = addresses.all(|address| own.iter().any(|block| block.contains(address)));
            is_own == self.cut_off.contains(&record.id)
        })
    }

    /// The blocks of a network, and its pool.
    fn look(&self, network: &str) -> (Blocks, &Pool) {
        let pool = self.pools[network].v4.as_ref().unwrap();
        (Blocks::of(&self.world, network, pool.subnet()), pool)
    }

    fn holds(&self, id: &str) -> bool {
        self.seats.contains_key(id) || self.coming.contains_key(id)
    }

    /// One step of what others ask for, or of the act that is under way. `store` is absent where it is out of reach.
    pub(crate) fn step(
        &mut self,
        disk: &mut Disk,
        store: Option<&mut Store>,
        now: Instant,
    ) -> Done {
        // Whoever was not heard says everything again.
        self.says_again |= store.is_none() && self.session.is_some() && self.is_busy();
        let reached = store.and_then(|store| Some((store, self.session?)));
        if let Some(answer) = self.answers.pop_front() {
            self.answer(disk, answer, reached, now);
            return Done::Nothing;
        }
        let Some(step) = self.steps.pop_front() else {
            return Done::Nothing;
        };
        match step {
            Step::Reserve {
                network,
                container,
                asked,
            } => {
                self.reserve(disk, (network, container, asked), reached, now);
            }
            Step::AwaitAnswer {
                network,
                container,
                mut asked,
                ask,
                until,
            } => {
                let is_answered = match reached {
                    Some((store, _)) if store.get(&ask).is_some() && now < until => false,
                    Some((store, _)) => {
                        self.says_again |= store.transact(vec![delete(ask.clone(), None)]).is_err();
                        let prefix = format!("{BLOCKS}{}/", disk.networks[network].id);
                        let pages = store.list().into_iter();
                        for page in pages.filter(|page| page.key.starts_with(&prefix)) {
                            self.learn(page, now);
                        }
                        self.settle_blocks(disk, &disk.networks[network].id.clone());
                        true
                    }
                    None => {
                        asked.push("nobody".to_owned());
                        true
                    }
                };
                self.steps.push_front(match is_answered {
                    true => Step::Reserve {
                        network,
                        container,
                        asked,
                    },
                    false => Step::AwaitAnswer {
                        network,
                        container,
                        asked,
                        ask,
                        until,
                    },
                });
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
            Step::Untell(record) => self.untell((&record.network, &record.id), reached),
            Step::Free(record) => {
                disk.endpoints.remove(&record.id);
                self.cut_off.remove(&record.id);
                let pools = self.pools.get_mut(&record.network).unwrap();
                pools.retire(&record, now + REST);
                return Done::Detached(record.id);
            }
            Step::TakeBackStrays(place) => {
                let network = &disk.networks[place].id;
                let strays = others::strays(&self.world, &disk.host, network, |id| self.holds(id));
                if let Some((store, session)) = reached {
                    for endpoint in strays {
                        self.untell((network, &endpoint), Some((&mut *store, session)));
                    }
                }
            }
            Step::Hold(record) => self.hold(disk, record, reached, now),
            Step::Tend(place) => self.tend_one(disk, place, reached, now),
            Step::GiveBack {
                network,
                block,
                page,
            } => {
                let network = disk.networks[network].id.clone();
                if let Some((store, _)) = reached {
                    self.give(disk, store, (&network, block, page), Vec::new(), now);
                }
            }
        }
        Done::Nothing
    }

    fn reserve(
        &mut self,
        disk: &mut Disk,
        (place, container, mut asked): (usize, String, Vec<String>),
        reached: Option<(&mut Store, Session)>,
        now: Instant,
    ) {
        let network = disk.networks[place].clone();
        let owner = Owner::Container(container.clone());
        let settings = EndpointSettings::default();
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
        let seats = self.seats.values();
        let others = seats.filter(|other| other.network == network.id);
        let rank = Place::of(&[], &owner);
        let pools = self.pools.get_mut(&network.id).unwrap();
        pools.wake(now);
        match endpoint::plan(&network, pools, others, &attachment, rank, fresh) {
            Ok(record) => {
                self.coming.insert(record.id.clone(), record.clone());
                return self.steps.push_front(Step::Keep(record));
            }
            Err(Attach::Address(AllocateAddress::Exhausted { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        let Some((store, session)) = reached else {
            return;
        };
        let wish = Wish::Any { is_ipv4: true };
        let (blocks, pool) = self.look(&network.id);
        let ask = match way(&blocks, &self.world, pool, &disk.host, wish) {
            Way::Own => panic!("there was an address"),
            Way::Take(block) => {
                let page = blocks.take(block, &disk.host);
                if self.write(disk, store, &network.id, page, Vec::new(), now) == Written::Lost {
                    return;
                }
                None
            }
            Way::Ask(hosts) => {
                let Some(host) = hosts.into_iter().find(|host| !asked.contains(host)) else {
                    return;
                };
                let ask = Ask {
                    asker: disk.host.clone(),
                    network: network.id.clone(),
                    wish,
                };
                let record = AskRecord { host: host.clone() };
                asked.push(host);
                let change = put(ask.key(), &record, None, Some(session.lease));
                if store.transact(vec![change]).is_err() {
                    self.says_again = true;
                    return;
                }
                Some(ask.key())
            }
        };
        let next = match ask {
            None => Step::Reserve {
                network: place,
                container,
                asked,
            },
            Some(ask) => Step::AwaitAnswer {
                network: place,
                container,
                asked,
                ask,
                until: now + PATIENCE,
            },
        };
        self.steps.push_front(next);
    }

    fn answer(
        &mut self,
        disk: &mut Disk,
        answer: Answer,
        reached: Option<(&mut Store, Session)>,
        now: Instant,
    ) {
        let Some((store, _)) = reached else { return };
        match answer {
            Answer::Look(entry) => {
                let Some(ask) = Ask::of_entry(&entry, &disk.host) else {
                    return;
                };
                let mut networks = disk.networks.iter();
                let place = networks.position(|network| network.id == ask.network);
                let place = place.unwrap();
                let (blocks, pool) = self.look(&ask.network);
                let Some(part) = part_to_give(&blocks, pool, &disk.host, ask.wish) else {
                    let before = Some(Before::of(&entry));
                    let refused = store.transact(vec![delete(entry.key, before)]);
                    self.says_again |= matches!(refused, Err(Refused::NoReply));
                    return;
                };
                let page = blocks.give(part, Some(&ask.asker));
                self.withhold(disk, &ask.network, &blocks, part);
                self.answers.push_front(Answer::Give {
                    ask: entry,
                    network: place,
                    part,
                    page,
                });
            }
            Answer::Give {
                ask,
                network,
                part,
                page,
            } => {
                let network = disk.networks[network].id.clone();
                let done = delete(ask.key.clone(), Some(Before::of(&ask)));
                let given = self.give(disk, store, (&network, part, page), vec![done], now);
                if given == Written::No && store.get(&ask.key).is_some() {
                    self.answers.push_front(Answer::Look(ask));
                }
            }
        }
    }

    fn withhold(&mut self, disk: &mut Disk, network: &str, blocks: &Blocks, part: IpNet) {
        let withheld = self.withheld.entry(network.to_owned()).or_default();
        let pools = self.pools.get_mut(network).unwrap();
        withheld.hold_back(pools, blocks, part);
        disk.owned.insert(network.to_owned(), pools.owned());
    }

    fn give(
        &mut self,
        disk: &mut Disk,
        store: &mut Store,
        (network, part, page): (&str, IpNet, WritePage),
        more: Vec<Change>,
        now: Instant,
    ) -> Written {
        let written = self.write(disk, store, network, page, more, now);
        if written == Written::No {
            self.withheld.get_mut(network).unwrap().take_back(part);
            self.settle_blocks(disk, network);
        }
        written
    }

    /// Replaces a page, as far as a host may.
    fn write(
        &mut self,
        disk: &mut Disk,
        store: &mut Store,
        network: &str,
        page: WritePage,
        more: Vec<Change>,
        now: Instant,
    ) -> Written {
        let before = store.get(&page.key);
        if page.before.is_so(before.as_ref()) {
            let before = before.map(|before| before.decode().unwrap());
            let subnet = self.pools[network].v4.as_ref().unwrap().subnet();
            let of = (&before.unwrap_or_default(), &page.record);
            check_page(subnet, of, &disk.host, |_| true).unwrap();
        }
        let key = page.key.clone();
        let change = put(page.key, &page.record, Some(page.before), None);
        let changes = std::iter::once(change).chain(more).collect();
        let written = match store.transact(changes) {
            Ok(_) => Written::Yes,
            Err(Refused::Key) => Written::No,
            Err(Refused::LeaseGone | Refused::NoReply) => {
                self.says_again = true;
                return Written::Lost;
            }
        };
        if let Some(entry) = store.get(&key) {
            self.learn(entry, now);
        }
        self.settle_blocks(disk, network);
        written
    }

    fn learn(&mut self, entry: Entry, now: Instant) {
        self.world.apply(Event::Put(entry), &Moment::alone(now));
    }

    fn tend_one(
        &mut self,
        disk: &mut Disk,
        place: usize,
        reached: Option<(&mut Store, Session)>,
        now: Instant,
    ) {
        let Some((store, _)) = reached else { return };
        let network = disk.networks[place].id.clone();
        self.pools.get_mut(&network).unwrap().wake(now);
        let (blocks, pool) = self.look(&network);
        let withheld = self.withheld.get(&network).cloned().unwrap_or_default();
        let page = match (
            withheld.fences(&blocks).pop(),
            wanted(&blocks, pool, &disk.host),
        ) {
            (Some(fence), _) => fence,
            (None, Some(block)) => blocks.take(block, &disk.host),
            (None, None) => {
                if let Some(block) = surplus(&blocks, pool, &disk.host) {
                    let page = blocks.give(block, None);
                    self.withhold(disk, &network, &blocks, block);
                    self.steps.push_front(Step::Tend(place));
                    self.steps.push_front(Step::GiveBack {
                        network: place,
                        block,
                        page,
                    });
                }
                return;
            }
        };
        if self.write(disk, store, &network, page, Vec::new(), now) != Written::Lost {
            self.steps.push_front(Step::Tend(place));
        }
    }

    /// Makes the address of an endpoint that has been here this host's again, and tells of it.
    fn hold(
        &mut self,
        disk: &mut Disk,
        record: EndpointRecord,
        reached: Option<(&mut Store, Session)>,
        now: Instant,
    ) {
        let Some((store, session)) = reached else {
            return;
        };
        if !self.holds(&record.id) {
            return;
        }
        let (blocks, pool) = self.look(&record.network);
        let wish = Wish::Address(record.addresses()[0]);
        match way(&blocks, &self.world, pool, &disk.host, wish) {
            Way::Own => {
                self.cut_off.remove(&record.id);
                self.tell(disk, &record, Some((store, session)));
            }
            Way::Take(block) => {
                let page = blocks.take(block, &disk.host);
                let network = record.network.clone();
                if self.write(disk, store, &network, page, Vec::new(), now) != Written::Lost {
                    self.steps.push_front(Step::Hold(record));
                }
            }
            Way::Ask(_) => {
                self.cut_off.insert(record.id);
            }
        }
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
        (network, endpoint): (&str, &str),
        reached: Option<(&mut Store, Session)>,
    ) {
        let Some((store, _)) = reached else { return };
        let key = format!("{ENDPOINTS}{network}/{endpoint}");
        self.says_again |= store.transact(vec![delete(key, None)]).is_err();
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
        vlan: None,
        trunk: None,
    };
    let key = format!("{ENDPOINTS}{}/{}", record.network, record.id);
    put(key, &shared, None, Some(session.lease))
}

fn put(
    key: String,
    value: &impl serde::Serialize,
    before: Option<Before>,
    lease: Option<u64>,
) -> Change {
    Change {
        key,
        before,
        value: Some(serde_json::to_value(value).unwrap()),
        lease,
    }
}

fn delete(key: String, before: Option<Before>) -> Change {
    Change {
        key,
        before,
        value: None,
        lease: None,
    }
}

pub(crate) const LEASE_MS: u64 = 10_000;
/// How long an address rests.
const REST: Duration = Duration::from_secs(60);
/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
