//! A host: what is on its disk, its agent, and the agent's sessions. Acts have the names that they have in `agent-cluster` and
//! `agent-daemon`, and take no time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use agent_core::ipam::Pools;
use agent_core::record::{EndpointRecord, NetworkRecord};
use agent_core::shared::holdings::Withheld;
use agent_core::shared::networks::Rest;
use agent_core::shared::{
    ALIVE, AliveRecord, CLUSTER, ClusterRecord, Difference, Entry, HOSTS, MANAGERS, Moment, World,
    others,
};
use ipnet::IpNet;
use overlay_core::{Directory, DirectoryConfig, Epoch, HostId, NetworkId};

use super::super::store::Change;
use super::access::Access;
use super::addresses::Wanting;
use super::managers::{Fault, LEASE_MS, Net, is_shown, name};
use super::wires::HOSTS as COUNT;

pub(crate) struct Host {
    pub(crate) number: usize,
    pub(crate) id: String,
    pub(crate) access: Access,
    pub(crate) disk: Disk,
    /// `None`: no agent runs.
    pub(crate) agent: Option<Agent>,
    /// How far its clock is ahead.
    ahead_s: u64,
}

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) networks: BTreeMap<String, NetworkRecord>,
    pub(crate) endpoints: BTreeMap<String, EndpointRecord>,
    /// What it may give addresses out of, by network.
    pub(crate) owned: BTreeMap<String, Vec<IpNet>>,
    remembered: Vec<Entry>,
    session: Option<Session>,
    /// How often the store had been set back when this host had said everything to it.
    pub(crate) era: u32,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) world: World,
    pub(crate) directory: Directory,
    /// By network.
    pub(crate) pools: BTreeMap<String, Pools>,
    pub(crate) withheld: BTreeMap<String, Withheld>,
    /// Where frames of a VNI from a host go, and where frames for that host may come from.
    pub(crate) ports: BTreeMap<(u32, HostId), NetworkId>,
    pub(crate) session: Option<Session>,
    pub(crate) says_again: bool,
    /// Endpoints whose address another host owns.
    pub(crate) cut_off: BTreeSet<String>,
    /// Keys of records that were not taken in.
    pub(crate) refused: BTreeSet<String>,
    pub(crate) kept_out: BTreeSet<String>,
    pub(crate) said_followed: u64,
    /// What other hosts ask for.
    pub(crate) asked: VecDeque<Entry>,
    /// Containers that wait for an address.
    pub(crate) wanting: Vec<Wanting>,
    old: Option<Session>,
    goes_on: bool,
    retry_ms: u64,
    keep_ms: u64,
    /// Over which connection, and how far it has come.
    watch: (u64, usize),
    /// How often the store had been set back when this host listed it last.
    pub(crate) era: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) lease: u64,
    pub(crate) epoch: u64,
    pub(crate) floor: u32,
}

impl Host {
    pub(crate) fn new(number: usize, first_manager: usize, ahead_s: u64) -> Self {
        Self {
            number,
            ahead_s,
            id: name(number),
            access: Access::new(number, first_manager),
            disk: Disk::default(),
            agent: None,
        }
    }

    /// Everything on record comes back, by what was known of the cluster.
    pub(crate) fn start(&mut self, net: &Net) {
        let mut world = World::default();
        world.replace(self.disk.remembered.clone(), &Moment::alone(net.now()));
        self.access.restart(&world);
        let host = HostId::new(&self.id).unwrap();
        let session = self.disk.session;
        self.agent = Some(Agent {
            directory: Directory::new(DirectoryConfig::new(host, Epoch(0))),
            world,
            pools: BTreeMap::new(),
            withheld: BTreeMap::new(),
            ports: BTreeMap::new(),
            session: None,
            says_again: false,
            cut_off: BTreeSet::new(),
            refused: BTreeSet::new(),
            kept_out: BTreeSet::new(),
            said_followed: 0,
            asked: VecDeque::new(),
            wanting: Vec::new(),
            old: session,
            goes_on: session.is_some(),
            retry_ms: net.now_ms,
            keep_ms: 0,
            watch: (0, 0),
            era: self.disk.era,
        });
        for (id, record) in self.disk.networks.clone() {
            let mut pools = Pools::of(&record).unwrap();
            let owned = self.disk.owned.get(&id).cloned();
            pools.own(&owned.unwrap_or_default());
            let here = self.disk.endpoints.values();
            for record in here.filter(|endpoint| endpoint.network == id) {
                pools.take_back(record).unwrap();
            }
            let agent = self.agent.as_mut().unwrap();
            others::settle(&mut pools, &agent.world, &self.id, &id);
            agent.pools.insert(id.clone(), pools);
            if record.shared().is_some() {
                agent.directory.attach_network(network_id(&id));
            }
        }
        for record in self.disk.endpoints.clone().into_values() {
            if self.has_network(&record.network) {
                self.announce(net, &record, 0);
            }
        }
        let known: Vec<Entry> = self.life().world.entries().cloned().collect();
        let differences = known.into_iter().map(Difference::Put).collect();
        self.follow_start(net, differences);
    }

    /// The agent dies, between any two acts. What it knew it has written down lately, or not.
    pub(crate) fn kill(&mut self, remembers: bool) {
        if let Some(agent) = self.agent.take()
            && remembers
        {
            self.disk.remembered = agent.world.entries().cloned().collect();
        }
    }

    pub(crate) fn life(&mut self) -> &mut Agent {
        self.agent.as_mut().unwrap()
    }

    pub(crate) fn world(&self) -> &World {
        &self.agent.as_ref().unwrap().world
    }

    pub(crate) fn session(&self) -> Option<Session> {
        self.agent.as_ref()?.session
    }

    pub(crate) fn transact(&mut self, net: &mut Net, changes: Vec<Change>) -> Result<u64, Fault> {
        self.access.transact(net, &changes)
    }

    /// By its own clock.
    pub(crate) fn rest(&self, net: &Net) -> Rest {
        let rest = net.rest();
        Rest {
            now_s: rest.now_s + self.ahead_s,
            ..rest
        }
    }

    /// Whether it has not said everything since the store was set back: what was its own may be another's.
    pub(crate) fn is_of_the_past(&self, net: &Net) -> bool {
        self.disk.era != net.era
    }

    pub(crate) fn has_heard_all(&self, net: &Net) -> bool {
        let at = self.agent.as_ref().map(|agent| agent.watch.1);
        let is_at_end = at == Some(net.store.end());
        let says_again = self.agent.as_ref().is_some_and(|agent| agent.says_again);
        self.session().is_some() && is_at_end && !says_again && !self.is_of_the_past(net)
    }

    /// What the member's thread does next.
    pub(crate) fn tick(&mut self, net: &mut Net) {
        if self.agent.is_none() {
            return;
        }
        self.access.tick(net);
        let now_ms = net.now_ms;
        let ended = match self.session() {
            None if now_ms < self.life().retry_ms => Ok(()),
            None => self.begin_session(net),
            Some(session) => self.live_on(net, session),
        };
        if ended.is_err() {
            let pause = 500 + u64::try_from(net.random.below(1500)).unwrap();
            let agent = self.life();
            let session = agent.session.take();
            agent.asked.clear();
            agent.goes_on &= session.is_none();
            agent.old = session.or(agent.old);
            agent.retry_ms = now_ms + pause;
        }
        self.want_on(net);
    }

    fn begin_session(&mut self, net: &mut Net) -> Result<(), Fault> {
        let (old, goes_on) = (self.life().old, self.life().goes_on);
        let going_on = match goes_on {
            true => self.go_on(net, old)?,
            false => None,
        };
        let session = match going_on {
            Some(session) => session,
            None => self.register(net, old)?,
        };
        let (listed, end) = self.access.list(net)?;
        let turn = self.access.turn;
        let until = net.now() + Duration::from_millis(LEASE_MS);
        let own = self.id.clone();
        let differences = self.learn(net, |world, at| match going_on {
            Some(_) => world.replace(listed, at),
            None => world.catch_up(listed, &own, (at, until)),
        });
        self.life().watch = (turn, end);
        self.life().era = net.era;
        self.mind_managers(&differences);
        self.follow(net, differences);
        self.settle();
        let now_ms = net.now_ms;
        let agent = self.life();
        agent.session = Some(session);
        agent.keep_ms = now_ms;
        self.begin(net, session)
    }

    fn register(&mut self, net: &mut Net, old: Option<Session>) -> Result<Session, Fault> {
        match old.map(|old| self.access.keep_alive(net, old.lease)) {
            None | Some(Ok(()) | Err(Fault::LeaseGone)) => {}
            Some(Err(fault)) => return Err(fault),
        }
        let lease = self.access.grant(net)?;
        let alive = AliveRecord {
            address: address(self.number),
            inside: None,
            quic_udp_port: Some(4790),
            run: "r".to_owned(),
            certificate: None,
        };
        let key = format!("{ALIVE}{}", self.id);
        let cluster = self.access.get(net, CLUSTER)?.unwrap();
        let cluster: ClusterRecord = cluster.decode().unwrap();
        let seen = self.world().seen();
        let revision = self.transact(net, vec![put(key, &alive, Some(lease))])?;
        self.life().world.note_revision(revision, seen);
        let epoch = cluster.epoch(revision);
        let session = Session {
            lease,
            epoch,
            floor: 0,
        };
        self.disk.session = Some(session);
        Ok(session)
    }

    fn go_on(&mut self, net: &mut Net, old: Option<Session>) -> Result<Option<Session>, Fault> {
        let Some(session) = old else { return Ok(None) };
        match self.access.keep_alive(net, session.lease) {
            Ok(()) => {}
            Err(Fault::LeaseGone) => return Ok(None),
            Err(fault) => return Err(fault),
        }
        if self
            .access
            .get(net, &format!("{ALIVE}{}", self.id))?
            .is_none()
        {
            return Ok(None);
        }
        let session = Session {
            floor: session.floor + LIFE,
            ..session
        };
        self.disk.session = Some(session);
        Ok(Some(session))
    }

    fn live_on(&mut self, net: &mut Net, session: Session) -> Result<(), Fault> {
        if net.now_ms >= self.life().keep_ms + LEASE_MS / 4 {
            self.life().keep_ms = net.now_ms;
            self.access.keep_alive(net, session.lease)?;
            self.tend(net)?;
        }
        if std::mem::take(&mut self.life().says_again) {
            self.list_anew(net)?;
            self.put_back_name(net)?;
            self.begin(net, session)?;
        }
        for _ in 0..HEARD_A_TICK {
            if !self.hear(net)? {
                break;
            }
        }
        let differences = self.learn(net, |world, at| world.handle_timeout(at));
        self.follow(net, differences);
        Ok(())
    }

    fn list_anew(&mut self, net: &mut Net) -> Result<(), Fault> {
        let (listed, _) = self.access.list(net)?;
        self.life().era = net.era;
        let differences = self.learn(net, |world, at| world.replace(listed, at));
        self.mind_managers(&differences);
        self.follow(net, differences);
        self.settle();
        Ok(())
    }

    /// One event. False where there is none.
    fn hear(&mut self, net: &mut Net) -> Result<bool, Fault> {
        if !self.access.hears(net) {
            return Ok(false);
        }
        let (turn, at) = self.life().watch;
        let event = match net.store.next(at) {
            Ok(event) if turn == self.access.turn => event.cloned(),
            // Something was missed.
            _ => {
                self.life().watch = (self.access.turn, net.store.end());
                self.list_anew(net)?;
                return Ok(true);
            }
        };
        let Some(event) = event else { return Ok(false) };
        self.life().watch.1 += 1;
        if is_shown(&event) {
            if let agent_core::shared::Event::Deleted { key, .. } = &event {
                self.mind_own(net, key)?;
            }
            let differences = self.learn(net, |world, at| {
                world.apply(event, at).into_iter().collect()
            });
            self.mind_managers(&differences);
            self.follow(net, differences);
        }
        Ok(true)
    }

    fn mind_own(&mut self, net: &mut Net, key: &str) -> Result<(), Fault> {
        let is_alive = key == format!("{ALIVE}{}", self.id);
        if !is_alive && key != format!("{HOSTS}{}", self.id) {
            return Ok(());
        }
        // Asked of the store, as whoever was shut out puts nothing back.
        self.access.get(net, key)?;
        self.life().says_again = true;
        match is_alive {
            true => Err(Fault::Unreachable),
            false => Ok(()),
        }
    }

    fn put_back_name(&mut self, net: &mut Net) -> Result<(), Fault> {
        let key = format!("{HOSTS}{}", self.id);
        if self.world().contains(&key) {
            return Ok(());
        }
        let change = member(self.number);
        self.transact(net, vec![change]).map(drop)
    }

    fn mind_managers(&mut self, differences: &[Difference]) {
        let is_about = differences.iter().any(|difference| {
            let (Difference::Put(entry) | Difference::Deleted(entry)) = difference;
            entry.key.starts_with(MANAGERS)
        });
        if is_about {
            let world = &self.agent.as_ref().unwrap().world;
            self.access.learn(world);
        }
    }

    /// With the tunnels as they are.
    pub(crate) fn learn(
        &mut self,
        net: &Net,
        learn: impl FnOnce(&mut World, &Moment<'_>) -> Vec<Difference>,
    ) -> Vec<Difference> {
        let own = self.number;
        let reaches = |host: &str| {
            let host = (0..COUNT).find(|other| name(*other) == host);
            host.is_some_and(|host| net.wires.has_tunnel(own, host))
        };
        let at = Moment {
            now: net.now(),
            reaches: &reaches,
        };
        learn(&mut self.life().world, &at)
    }
}

/// Who is a member from the beginning.
pub(crate) fn member(host: usize) -> Change {
    let known = agent_core::shared::HostRecord {
        name: name(host),
        address: address(host),
        joined_s: 0,
    };
    put(format!("{HOSTS}{}", name(host)), &known, None)
}

pub(crate) fn put(key: String, value: &impl serde::Serialize, lease: Option<u64>) -> Change {
    Change {
        key,
        before: None,
        value: Some(serde_json::to_value(value).unwrap()),
        lease,
    }
}

pub(crate) fn network_id(id: &str) -> NetworkId {
    NetworkId::parse(id).unwrap()
}

fn address(host: usize) -> std::net::IpAddr {
    [192, 0, 2, u8::try_from(host + 1).unwrap()].into()
}

const HEARD_A_TICK: usize = 16;
/// How many sequence numbers one agent has for itself.
const LIFE: u32 = 1 << 16;
