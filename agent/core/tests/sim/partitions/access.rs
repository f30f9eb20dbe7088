//! How a host reaches the store: as a manager by its own etcd, as a member through whichever manager answers, by the rules of
//! [`ManagerStore`](../../../../store/src/manager_store/mod.rs).

use agent_core::shared::turns::{Leaving, Turns};
use agent_core::shared::{Entry, MANAGERS, World};

use super::super::store::Change;
use super::managers::{Fault, Net};
use super::wires::HOSTS;

pub(crate) struct Access {
    host: usize,
    /// Managers.
    pub(crate) turns: Turns<usize>,
    /// The manager, and the life of it that the connection was made to.
    connection: Option<(usize, u32)>,
    leaving: Leaving,
    /// Counts connections: what was watched over the one before may have missed something.
    pub(crate) turn: u64,
}

impl Access {
    pub(crate) fn new(host: usize, first: usize) -> Self {
        Self {
            host,
            turns: Turns::of(first),
            connection: None,
            leaving: Leaving::default(),
            turn: 0,
        }
    }

    /// Another life of the agent, which knows what it kept of the world.
    pub(crate) fn restart(&mut self, world: &World) {
        self.connection = None;
        self.learn(world);
    }

    pub(crate) fn learn(&mut self, world: &World) {
        let told = world.entries_under(MANAGERS);
        let managers: Vec<usize> = told
            .filter_map(|(host, _)| host.strip_prefix('h')?.parse().ok())
            .collect();
        self.turns.learn(managers);
    }

    /// Through whom the store is reached now. Dials where that is nobody.
    fn manager(&mut self, net: &Net) -> Option<usize> {
        if self.is_manager(net) {
            return Some(self.host);
        }
        let is_alive = |(manager, life): &(usize, u32)| {
            let there = net.managers.get(manager);
            there.is_some_and(|there| there.answers && there.life == *life)
        };
        self.connection = self.connection.filter(is_alive);
        if self.connection.is_none() {
            self.dial(net);
        }
        self.connection.map(|(manager, _)| manager)
    }

    /// A manager's etcds are all managers'.
    pub(crate) fn is_manager(&self, net: &Net) -> bool {
        net.managers.contains_key(&self.host)
    }

    fn reaches_etcd(&self, net: &Net, manager: usize) -> bool {
        let mut all = net.managers.keys();
        let reaches =
            |etcd: &usize| net.wires.carry_both(self.host, *etcd) && net.has_quorum(*etcd);
        match manager == self.host {
            true => all.any(reaches),
            false => net.has_quorum(manager),
        }
    }

    /// Every manager once, and then every other host, which may be one by now; or those first.
    fn dial(&mut self, net: &Net) {
        if self.leaving.take_elsewhere() && self.dial_others(net) {
            return;
        }
        for _ in 0..self.turns.all().len() {
            let manager = self.turns.take().unwrap();
            if self.connect(net, manager) {
                return;
            }
        }
        self.dial_others(net);
    }

    fn dial_others(&mut self, net: &Net) -> bool {
        let others = (0..HOSTS).filter(|host| *host != self.host);
        let others: Vec<usize> = others
            .filter(|host| !self.turns.all().contains(host))
            .collect();
        let found = others.into_iter().find(|host| self.connect(net, *host));
        found
            .inspect(|manager| self.turns.prefer(*manager))
            .is_some()
    }

    fn connect(&mut self, net: &Net, manager: usize) -> bool {
        let there = net.managers.get(&manager);
        let there = there.filter(|there| {
            there.answers
                && net.wires.carry_both(self.host, manager)
                && net.admits(manager, self.host)
        });
        if let Some(there) = there {
            self.connection = Some((manager, there.life));
            self.turn += 1;
        }
        there.is_some()
    }

    /// The manager has said that it does not reach the store.
    fn leave(&mut self, net: &Net) {
        if self.leaving.leaves(self.turns.all().len(), net.now()) {
            self.connection = None;
        }
    }

    /// What changes nothing by being asked twice.
    fn ask<T>(
        &mut self,
        net: &mut Net,
        ask: impl Fn(&mut Net) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        for _ in 0..ATTEMPTS {
            let manager = self.manager(net).ok_or(Fault::Unreachable)?;
            if manager != self.host && !net.wires.carry_both(self.host, manager) {
                self.connection = None;
                continue;
            }
            if self.reaches_etcd(net, manager) {
                return ask(net);
            }
            self.leave(net);
            return Err(Fault::Unreachable);
        }
        Err(Fault::Unreachable)
    }

    pub(crate) fn get(&mut self, net: &mut Net, key: &str) -> Result<Option<Entry>, Fault> {
        self.ask(net, |net| Ok(net.store.get(key)))
    }

    /// Everything, and where a watch goes on from there.
    pub(crate) fn list(&mut self, net: &mut Net) -> Result<(Vec<Entry>, usize), Fault> {
        self.ask(net, |net| Ok((net.listed(), net.store.end())))
    }

    pub(crate) fn grant(&mut self, net: &mut Net) -> Result<u64, Fault> {
        let host = self.host;
        self.ask(net, |net| net.grant(host))
    }

    pub(crate) fn keep_alive(&mut self, net: &mut Net, lease: u64) -> Result<(), Fault> {
        let host = self.host;
        self.ask(net, |net| net.keep_alive(host, lease))
    }

    /// Fails as unreachable where the answer is lost, though it may have been done, or will be.
    pub(crate) fn transact(&mut self, net: &mut Net, changes: &[Change]) -> Result<u64, Fault> {
        let manager = self.manager(net).ok_or(Fault::Unreachable)?;
        if manager == self.host {
            if !self.reaches_etcd(net, manager) {
                return Err(Fault::Unreachable);
            }
            let done = net.store.transact(changes.to_vec());
            return done.map_err(|refused| match refused {
                super::super::store::Refused::Key => Fault::Changed,
                super::super::store::Refused::LeaseGone => Fault::LeaseGone,
                super::super::store::Refused::NoReply => Fault::Unreachable,
            });
        }
        let is_heard = net.wires.carry(self.host, manager);
        let is_answered = is_heard && net.wires.carry(manager, self.host);
        let breaks = net.is_rough && net.random.chance(1);
        if !is_heard || !net.has_quorum(manager) {
            if net.random.chance(50) {
                net.be_late(self.host, self.connection.unwrap(), changes.to_vec());
            }
            match is_heard {
                true => self.leave(net),
                false => self.connection = None,
            }
            return Err(Fault::Unreachable);
        }
        let done = net.carry_out(manager, self.host, changes);
        if !is_answered || breaks {
            self.connection = None;
            return Err(Fault::Unreachable);
        }
        done
    }

    /// Whether events come over the connection that they came over before.
    pub(crate) fn hears(&mut self, net: &Net) -> bool {
        match self.manager(net) {
            Some(manager) => {
                self.reaches_etcd(net, manager) && net.wires.carry_both(self.host, manager)
            }
            None => false,
        }
    }

    /// A connection whose far end is silent is given up.
    pub(crate) fn tick(&mut self, net: &Net) {
        if let Some((manager, _)) = self.connection
            && !net.wires.carry_both(self.host, manager)
        {
            self.connection = None;
        }
    }
}

const ATTEMPTS: usize = 8;
