//! The world: hosts, network, store, and the model they are held to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use overlay_core::{HostId, PeerEvent};
use switch_core::{Mac, Vni};
use switch_lab::simulation::Random;

use super::host::{Host, id_of};
use super::net::{Net, Parcel};
use super::store::{Said, Store};

/// How big, and how bad.
pub(crate) struct Shape {
    hosts: usize,
    loss_percent: usize,
    /// Milliseconds between looks at timers.
    tick: u64,
}

impl Shape {
    pub(crate) fn small() -> Self {
        Self {
            hosts: 4,
            loss_percent: 5,
            tick: 1,
        }
    }

    /// For a long time.
    pub(crate) fn day() -> Self {
        Self {
            tick: 50,
            ..Self::small()
        }
    }

    pub(crate) fn large(hosts: usize) -> Self {
        Self {
            hosts,
            loss_percent: 0,
            tick: 20,
        }
    }
}

/// An endpoint, by its network and MAC.
pub(crate) type Key = (Vni, Mac);

pub(crate) struct World {
    now: u64,
    tick: u64,
    names: Vec<HostId>,
    /// `None`: crashed.
    hosts: Vec<Option<Host>>,
    net: Net,
    store: Store,
    random: Random,
    connections: u64,
    /// The model: where every endpoint is, and its address.
    model: BTreeMap<Key, Place>,
    /// Endpoints that were taken over while their old host did not know it, and so still has them.
    ghosts: BTreeSet<(usize, Key)>,
    next_endpoint: u16,
    /// Owners each MAC and address had, as the store's allocator counts them.
    generations: BTreeMap<(Vni, IpAddr), u32>,
    frames: u32,
    delivered: BTreeSet<(u32, usize, Mac)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    host: usize,
    address: IpAddr,
}

impl World {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        let names: Vec<HostId> = (0..shape.hosts)
            .map(|n| HostId::new(&format!("host-{n:02}")).unwrap())
            .collect();
        let mut random = Random(seed);
        let mut world = Self {
            now: 0,
            tick: shape.tick,
            hosts: names.iter().map(|_| None).collect(),
            net: Net::new(random.word(), shape.loss_percent),
            store: Store::new(names.clone(), random.word(), shape.loss_percent),
            names,
            random,
            connections: 0,
            model: BTreeMap::new(),
            ghosts: BTreeSet::new(),
            next_endpoint: 100,
            generations: BTreeMap::new(),
            frames: 0,
            delivered: BTreeSet::new(),
        };
        for host in 0..shape.hosts {
            world.restart(host);
        }
        world
    }

    // What can be done to it.

    pub(crate) fn attach(&mut self, host: usize, network: usize) -> Key {
        self.next_endpoint += 1;
        self.attach_as(host, network, self.next_endpoint)
    }

    /// Attaches an endpoint whose MAC and address follow from a number.
    pub(crate) fn attach_as(&mut self, host: usize, network: usize, number: u16) -> Key {
        let key = (vni(network), mac(number));
        self.attach_key(host, key, address(number));
        key
    }

    pub(crate) fn detach(&mut self, key: Key) {
        let place = self.model.remove(&key).unwrap();
        self.detach_at(place.host, key);
    }

    /// The endpoint goes to another host, with its MAC and address.
    pub(crate) fn move_to(&mut self, key: Key, host: usize) {
        let place = self.model[&key];
        // Sometimes the new host is faster than the old.
        if place.host != host && self.random.chance(50) {
            let old = place.host;
            self.attach_key(host, key, place.address);
            self.detach_at(old, key);
        } else {
            self.detach(key);
            self.attach_key(host, key, place.address);
        }
    }

    /// The endpoint goes, and another MAC gets its address.
    pub(crate) fn reuse_address(&mut self, key: Key, host: usize) -> Key {
        let place = self.model[&key];
        self.detach(key);
        self.next_endpoint += 1;
        let new = (key.0, mac(self.next_endpoint));
        self.attach_key(host, new, place.address);
        new
    }

    /// The endpoint is made anew elsewhere, while the old host goes on with it.
    pub(crate) fn take_over(&mut self, key: Key, host: usize) {
        let place = self.model[&key];
        if place.host != host {
            self.ghosts.insert((place.host, key));
            self.attach_key(host, key, place.address);
        }
    }

    /// Old hosts end what was taken over.
    pub(crate) fn lay_ghosts(&mut self) {
        while let Some((host, key)) = self.ghosts.pop_first() {
            self.detach_at(host, key);
        }
    }

    pub(crate) fn crash(&mut self, host: usize) {
        self.ghosts.retain(|(at, _)| *at != host);
        self.hosts[host] = None;
        self.store.cut(self.now, host);
        self.model.retain(|_, place| place.host != host);
    }

    pub(crate) fn restart(&mut self, host: usize) {
        let epoch = self.store.epoch();
        let skew = self.random.word();
        self.hosts[host] = Some(Host::new(&self.names, host, epoch, self.now, skew));
        self.store.grant(host, epoch);
        self.store.publish_all(self.now, host, Vec::new());
        self.store.watch(self.now, host);
    }

    pub(crate) fn cut_store_for_all(&mut self) {
        for host in 0..self.hosts.len() {
            self.store.cut(self.now, host);
        }
    }

    /// The underlay loses that many datagrams in a hundred.
    pub(crate) fn spoil(&mut self, loss_percent: usize) {
        self.net.spoil(loss_percent);
    }

    /// Endpoints go until so many are left.
    pub(crate) fn thin_out(&mut self, left: usize) {
        while self.model.len() > left {
            let place = self.random.below(self.model.len());
            let key = *self.model.keys().nth(place).unwrap();
            self.detach(key);
        }
    }

    /// Timers are looked at every millisecond from now on.
    pub(crate) fn look_closely(&mut self) {
        self.tick = 1;
    }

    /// Everything works again.
    pub(crate) fn heal(&mut self) {
        self.net.heal();
        for host in 0..self.hosts.len() {
            self.reconnect(host);
        }
    }

    /// Something random happens, then some time passes.
    pub(crate) fn transition(&mut self) {
        let host = self.random.below(self.hosts.len());
        let other = self.random.below(self.hosts.len());
        let network = self.random.below(3);
        let is_well = |world: &Self, host: usize| {
            world.hosts[host].is_some() && world.store.is_reached_by(host)
        };
        let keys: Vec<Key> = self.model.keys().copied().collect();
        let any = (!keys.is_empty()).then(|| keys[self.random.below(keys.len().max(1))]);
        // The allocator is in the store, so a host that does not reach it gets no address that others had.
        let takeable = any.filter(|_| is_well(self, other));
        let movable = takeable.filter(|key| is_well(self, self.model[key].host));
        match (self.random.below(24), any, movable) {
            (0..6, ..) if self.hosts[host].is_some() => {
                self.attach(host, network);
            }
            (6..8, Some(key), _) => self.detach(key),
            (8..11, _, Some(key)) => self.move_to(key, other),
            (11..13, _, Some(key)) => {
                self.reuse_address(key, other);
            }
            (13, ..) => self.store.cut(self.now, host),
            (14, ..) => self.reconnect(host),
            (15, ..) => self.net.cut(host, other),
            (16, ..) => {
                self.net.cut(host, other);
                self.net.cut(other, host);
            }
            (17, ..) if self.random.chance(30) => self.crash(host),
            (18, Some(key), _) => self.broadcast(key),
            (19..21, ..) if takeable.is_some() => self.take_over(takeable.unwrap(), other),
            (21, ..) if self.hosts[host].is_some() => {
                let key = self.attach(host, network);
                self.detach(key);
            }
            (_, Some(from), _) => {
                let to = keys[self.random.below(keys.len())];
                if from.0 == to.0 && from != to {
                    self.unicast(from, to.1);
                }
            }
            _ => {}
        }
        let pause = u64::try_from(self.random.below(400)).unwrap();
        self.run(pause);
        self.collect();
    }

    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            self.now = (self.now + self.tick).min(end);
            self.step();
        }
    }

    // What can be seen of it.

    pub(crate) fn delivered(&self) -> usize {
        self.delivered.len()
    }

    pub(crate) fn store_messages(&self) -> usize {
        usize::try_from(self.store.messages).unwrap()
    }

    pub(crate) fn records_everywhere(&self) -> usize {
        let hosts = self.hosts.iter().flatten();
        hosts.map(|host| host.directory.len()).sum()
    }

    /// Records of one host that others hold.
    pub(crate) fn records_of(&self, host: usize) -> usize {
        let name = &self.names[host];
        let others = self.hosts.iter().flatten();
        let directories = others.map(|other| &other.directory);
        let networks = (0..3).map(vni);
        networks
            .flat_map(|vni| directories.clone().map(move |directory| (vni, directory)))
            .filter(|(vni, directory)| directory.is_member(id_of(*vni), name))
            .count()
    }

    /// How much all hosts hold, as the length of all of it written down.
    pub(crate) fn held(&self) -> usize {
        self.hosts.iter().flatten().map(Host::held).sum()
    }

    /// Directions in which a peer is up.
    pub(crate) fn links_up(&self) -> usize {
        let links = self
            .hosts
            .iter()
            .flatten()
            .flat_map(|host| host.links.values());
        links.filter(|link| link.peer.is_up()).count()
    }

    // How it works.

    fn attach_key(&mut self, host: usize, key: Key, address: IpAddr) {
        if self.ghosts.remove(&(host, key)) {
            self.detach_at(host, key);
        }
        let generation = self.generations.entry((key.0, address)).or_default();
        *generation += 1;
        let floor = *generation;
        let at = self.hosts[host].as_mut().unwrap();
        let record = at.attach(self.now, key, address, floor);
        if self.store.is_reached_by(host) {
            self.store.put(self.now, host, record);
        }
        self.model.insert(key, Place { host, address });
    }

    fn detach_at(&mut self, host: usize, key: Key) {
        let at = self.hosts[host].as_mut().unwrap();
        let withdrawal = at.detach(self.now, key.0, key.1);
        if let (true, Some(withdrawal)) = (self.store.is_reached_by(host), withdrawal) {
            self.store.delete(self.now, host, withdrawal);
        }
    }

    /// A host reaches the store again.
    fn reconnect(&mut self, host: usize) {
        if self.hosts[host].is_none() {
            self.restart(host);
            return;
        }
        if self.store.is_reached_by(host) {
            return;
        }
        self.store.watch(self.now, host);
        let is_leased = self.store.lease(host).is_some();
        let epoch = self.store.epoch();
        let at = self.hosts[host].as_mut().unwrap();
        let records = if is_leased {
            self.store.refresh(host);
            at.directory.own_records()
        } else {
            self.store.grant(host, epoch);
            let clock = at.clock(self.now);
            at.directory.renew(clock, epoch)
        };
        at.follow_directory();
        self.store.publish_all(self.now, host, records);
    }

    fn step(&mut self) {
        self.store.expire(self.now);
        while let Some((host, said)) = self.store.arrive(self.now) {
            self.hear(host, said);
        }
        for host in self.hosts.iter_mut().flatten() {
            host.handle_timeouts(self.now);
        }
        self.exchange();
        while let Some((from, to, connection, parcel)) = self.net.arrive(self.now) {
            self.take(from, to, connection, parcel);
        }
        self.exchange();
    }

    fn hear(&mut self, host: usize, said: Said) {
        let Some(at) = &mut self.hosts[host] else {
            return;
        };
        let clock = at.clock(self.now);
        match said {
            Said::Put(record) => {
                at.directory.apply(clock, record);
            }
            Said::Delete(withdrawal) => {
                at.directory.apply_withdrawal(clock, &withdrawal);
            }
            Said::Gone(name, epoch) => at.directory.host_gone(clock, &name, epoch),
            Said::Snapshot(records) => at.directory.resync(clock, records),
        }
        at.follow_directory();
    }

    /// Carries what hosts want sent, dialed and closed.
    fn exchange(&mut self) {
        for index in 0..self.hosts.len() {
            while let Some((other, event)) =
                self.hosts[index].as_mut().and_then(Host::next_peer_event)
            {
                self.obey(index, other, &event);
            }
            let Some(host) = &mut self.hosts[index] else {
                continue;
            };
            for (other, connection, datagram) in host.outbox.drain(..) {
                let parcel = Parcel::Datagram(datagram);
                self.net.send(self.now, index, other, connection, parcel);
            }
        }
    }

    fn obey(&mut self, index: usize, other: usize, event: &PeerEvent) {
        match event {
            PeerEvent::Dial => {
                // A handshake needs both directions, and somebody there.
                let answers = self.hosts[other].is_some()
                    && self.net.passes(index, other)
                    && self.net.passes(other, index);
                if answers {
                    self.connections += 1;
                    let parcel = Parcel::Connected(self.connections);
                    self.net
                        .send(self.now, index, other, self.connections, parcel.clone());
                    self.net
                        .send(self.now, other, index, self.connections, parcel);
                }
            }
            PeerEvent::Close(_) => {
                let host = self.hosts[index].as_mut().unwrap();
                let link = host.links.get_mut(&other).unwrap();
                if let Some(connection) = link.connection.take() {
                    let parcel = Parcel::Closed(connection);
                    self.net.send(self.now, index, other, connection, parcel);
                }
            }
            PeerEvent::Up { .. } | PeerEvent::Down | PeerEvent::Letter(_) => {}
        }
    }

    fn take(&mut self, from: usize, to: usize, connection: u64, parcel: Parcel) {
        let Some(host) = &mut self.hosts[to] else {
            return;
        };
        let clock = host.clock(self.now);
        let link = host.links.get_mut(&from).unwrap();
        match parcel {
            Parcel::Connected(number) => {
                // A handshake that was overtaken by a later one is void.
                if link.connection.is_none_or(|known| known < number) {
                    host.connected(self.now, from, number);
                }
            }
            Parcel::Closed(number) if link.connection == Some(number) => {
                link.connection = None;
                link.peer.handle_disconnected(clock);
            }
            Parcel::Datagram(bytes) if link.connection == Some(connection) => {
                host.receive(self.now, from, &bytes);
                host.flush_messages(from);
            }
            Parcel::Closed(_) | Parcel::Datagram(_) => {}
        }
    }
}

fn vni(network: usize) -> Vni {
    Vni::new(u32::try_from(1000 + network).unwrap()).unwrap()
}

fn mac(number: u16) -> Mac {
    let [a, b] = number.to_be_bytes();
    Mac::new([2, 0x42, 0, 0, a, b])
}

fn address(number: u16) -> IpAddr {
    let [a, b] = number.to_be_bytes();
    Ipv4Addr::new(10, 0, a, b).into()
}

mod check;
