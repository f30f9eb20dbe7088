//! What must hold, and the frames that show it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use switch_core::Mac;

use super::{Key, World};
use crate::sim::host::id_of;

impl World {
    /// Every pair, every address, every broadcast.
    pub(crate) fn check_everything(&mut self) {
        assert!(self.ghosts.is_empty());
        self.check_owners();
        for host in self.hosts.iter().flatten() {
            assert_eq!(host.directory.len(), self.model.len(), "a stale record");
        }
        let keys: Vec<Key> = self.model.keys().copied().collect();
        self.check_unicast(&keys);
        self.check_addresses(&keys);
        for key in keys {
            self.check_broadcast(key);
        }
    }

    /// Every host knows the owner of every MAC and address.
    pub(crate) fn check_owners(&self) {
        for host in self.hosts.iter().flatten() {
            for ((vni, mac), place) in &self.model {
                let owner = Some((&self.names[place.host], *mac));
                let located = host.directory.locate(id_of(*vni), *mac);
                assert_eq!(located.map(|record| (&record.host, record.mac)), owner);
                let resolved = host.directory.resolve(id_of(*vni), place.address);
                assert_eq!(resolved.map(|record| (&record.host, record.mac)), owner);
            }
        }
    }

    /// Some random pairs.
    pub(crate) fn check_sample(&mut self, count: usize) {
        let keys: Vec<Key> = self.model.keys().copied().collect();
        for _ in 0..count {
            let from = keys[self.random.below(keys.len())];
            let to = keys[self.random.below(keys.len())];
            if from.0 == to.0 && from != to {
                self.check_pair(from, to);
            }
        }
    }

    pub(crate) fn check_unicast(&mut self, keys: &[Key]) {
        self.net.heal();
        for from in keys {
            for to in keys {
                if from.0 == to.0 && from != to {
                    self.check_pair(*from, *to);
                }
            }
        }
    }

    /// A frame reaches its destination and nobody else, without being flooded.
    fn check_pair(&mut self, from: Key, to: Key) {
        self.clear();
        self.unicast(from, to.1);
        self.run(30);
        let got = self.collect();
        let expected = BTreeSet::from([(self.model[&to].host, to.1)]);
        assert_eq!(got, expected, "from {from:?} at {:?}", self.model[&from]);
        let floods: u64 = self.hosts.iter().flatten().map(|host| host.floods).sum();
        assert_eq!(floods, 0, "a known station is not flooded to");
    }

    fn check_broadcast(&mut self, from: Key) {
        self.clear();
        self.broadcast(from);
        self.run(30);
        let got = self.collect();
        let others = self
            .model
            .iter()
            .filter(|(key, _)| key.0 == from.0 && **key != from);
        let expected: BTreeSet<(usize, Mac)> =
            others.map(|(key, place)| (place.host, key.1)).collect();
        assert_eq!(got, expected);
    }

    /// Who-has is answered by the asker's own host, with the owner the model names.
    fn check_addresses(&mut self, keys: &[Key]) {
        for from in keys {
            for to in keys.iter().filter(|to| to.0 == from.0 && *to != from) {
                let (asker, target) = (self.model[from], self.model[to]);
                let request = arp_request(from.1, asker.address, target.address);
                let host = self.hosts[asker.host].as_mut().unwrap();
                host.reply = None;
                host.send(self.now, from.0, from.1, &request);
                let reply = host.reply.take().unwrap();
                assert_eq!(
                    reply[22..28],
                    to.1.octets(),
                    "{from:?} asked for {target:?}"
                );
            }
        }
    }

    pub(super) fn unicast(&mut self, from: Key, to: Mac) {
        let bytes = self.frame(from, to);
        self.emit(from, &bytes);
    }

    pub(super) fn broadcast(&mut self, from: Key) {
        let bytes = self.frame(from, Mac::BROADCAST);
        self.emit(from, &bytes);
    }

    fn emit(&mut self, from: Key, bytes: &[u8]) {
        let place = self.model[&from];
        if let Some(host) = &mut self.hosts[place.host] {
            host.send(self.now, from.0, from.1, bytes);
        }
    }

    /// A frame that names its network; every other one is too long for a datagram.
    fn frame(&mut self, (vni, source): Key, to: Mac) -> Vec<u8> {
        self.frames += 1;
        let mut bytes = [to.octets(), source.octets()].concat();
        bytes.extend([0x88, 0xb5]);
        bytes.extend(self.frames.to_be_bytes());
        bytes.extend(vni.value().to_be_bytes());
        bytes.resize(
            if self.frames.is_multiple_of(2) {
                1200
            } else {
                60
            },
            0,
        );
        bytes
    }

    fn clear(&mut self) {
        for host in self.hosts.iter_mut().flatten() {
            host.deliveries.clear();
            host.floods = 0;
        }
    }

    /// Which sandboxes got something. No frame came out twice, or in another network than it went in.
    pub(super) fn collect(&mut self) -> BTreeSet<(usize, Mac)> {
        let mut seen = BTreeSet::new();
        for (index, host) in self.hosts.iter_mut().enumerate() {
            for (vni, mac, bytes) in host.iter_mut().flat_map(|host| host.deliveries.drain(..)) {
                // ARP and the like carry no mark.
                if bytes[12..14] == [0x88, 0xb5] {
                    assert_eq!(bytes[18..22], vni.value().to_be_bytes(), "a leak");
                    let frame = u32::from_be_bytes(bytes[14..18].try_into().unwrap());
                    let is_new = self.delivered.insert((frame, index, mac));
                    assert!(is_new, "a frame came twice");
                    seen.insert((index, mac));
                }
            }
        }
        seen
    }
}

/// RFC 826.
fn arp_request(source: Mac, asker: IpAddr, target: IpAddr) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("not IPv4"),
    };
    let mut bytes = [Mac::BROADCAST.octets(), source.octets()].concat();
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend(source.octets());
    bytes.extend(octets(asker));
    bytes.extend([0; 6]);
    bytes.extend(octets(target));
    bytes
}
