//! The names of one network.
//!
//! # Theory of operation
//!
//! An endpoint answers to its container's name, its aliases, its hostname and the short id, each bare and with the
//! network's name behind it. Names compare without case. Several endpoints may share a name: a lookup then returns
//! all of them, starting at another one each time, so that clients which take the first address spread out. Records
//! that the network's maker asked for stand beside the endpoints' names and stay as long as the zone.
//!
//! A published port has an SRV record `_service._tcp.name` (RFC 2782). The service is the number that the container listens on,
//! the number that it was published as, or the registered name of either. The record always points to the container, at its own
//! number. Docker gives ports no names, so there are no others.
//!
//! Names that the host keeps to itself ([`PrivateNames`]) are decided here even when they are unknown. So are names of one
//! label, which no public server answers. Neither is asked of the world. Every other name is foreign.
//!
//! Two maps hold the same endpoints, by key and by name; every change updates both, and a name without endpoints is
//! removed at once. The turn counters are the only thing a lookup changes.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};

use crate::group::{Group, Holder};
use crate::lookup::Lookup;
use crate::name::{InvalidName, parse_name};
use crate::private::{PrivateNames, in_subnet, is_localhost, is_never_public};
use crate::service::{Service, ServiceName, ServiceTarget};

/// A network's own facts, fixed while anybody is on it.
#[derive(Clone, Debug, Default)]
pub struct ZoneConfig {
    /// The network's name: every endpoint also answers to `name.network`.
    pub network: String,
    /// Subnets (address and prefix length) whose reverse names are answered here and never forwarded.
    pub subnets: Vec<(IpAddr, u8)>,
    /// Names that have these addresses whoever is on the network. Check them with [`crate::check_name`].
    pub records: Vec<(String, IpAddr)>,
}

/// All names of one endpoint, and its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointNames {
    /// The container's name.
    pub name: String,
    /// `--network-alias`; several endpoints may share one.
    pub aliases: Vec<String>,
    pub hostname: Option<String>,
    /// First 12 digits of the container's id.
    pub short_id: Option<String>,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    /// Published ports.
    pub services: Vec<Service>,
}

/// Why an endpoint's names, or a zone, were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertNames {
    #[error("the network already holds the names of {0} endpoints; remove one first")]
    TooManyEndpoints(usize),
    #[error("an endpoint may have at most {0} names")]
    TooManyNames(usize),
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
}

/// The names of one network, forward and reverse.
#[derive(Debug)]
pub struct Zone {
    config: ZoneConfig,
    network: Option<Name>,
    private: Arc<PrivateNames>,
    endpoints: HashMap<Arc<str>, Endpoint>,
    forward: HashMap<Name, Group>,
    reverse: HashMap<IpAddr, (Arc<str>, Name)>,
}

#[derive(Debug)]
struct Endpoint {
    names: Vec<Name>,
    addresses: Vec<IpAddr>,
    canonical: Name,
    services: Vec<Service>,
}

impl Zone {
    /// Records and a network name that cannot be DNS names are left out: nobody can ask for them.
    pub fn new(config: ZoneConfig) -> Self {
        let mut zone = Self {
            network: parse_name(&config.network).ok(),
            private: Arc::default(),
            config,
            endpoints: HashMap::new(),
            forward: HashMap::new(),
            reverse: HashMap::new(),
        };
        let records = zone.config.records.iter().take(MAX_RECORDS);
        for (name, address) in records {
            if let Ok(name) = parse_name(name) {
                let group = zone.forward.entry(name).or_default();
                group.holders.push(Holder::record(*address));
            }
        }
        zone
    }

    /// Calls the network otherwise, as long as nobody is on it: the names that an endpoint has keep the network's in them.
    pub fn rename(&mut self, network: &str) {
        self.network = parse_name(network).ok();
        network.clone_into(&mut self.config.network);
    }

    /// Takes what the host keeps to itself, now and whatever it is later.
    pub fn set_private(&mut self, private: Arc<PrivateNames>) {
        self.private = private;
    }

    /// Takes the names of endpoint `key`, replacing what it had. On an error nothing has changed.
    pub fn insert(&mut self, key: &str, names: EndpointNames) -> Result<(), InsertNames> {
        if !self.endpoints.contains_key(key) && self.endpoints.len() >= MAX_ENDPOINTS {
            return Err(InsertNames::TooManyEndpoints(MAX_ENDPOINTS));
        }
        let forward = self.names_of(&names)?;
        let canonical = self.qualified(&parse_name(&names.name)?);
        self.remove(key);
        let key: Arc<str> = Arc::from(key);
        for name in &forward {
            let group = self.forward.entry(name.clone()).or_default();
            group.holders.push(Holder {
                key: Arc::clone(&key),
                v4: names.v4,
                v6: names.v6,
            });
        }
        let v4 = names.v4.map(IpAddr::V4);
        let v6 = names.v6.map(IpAddr::V6);
        let addresses: Vec<IpAddr> = [v4, v6].into_iter().flatten().collect();
        for address in &addresses {
            self.reverse
                .insert(*address, (Arc::clone(&key), canonical.clone()));
        }
        self.endpoints.insert(
            key,
            Endpoint {
                names: forward,
                addresses,
                canonical,
                services: names.services,
            },
        );
        Ok(())
    }

    /// Forgets an endpoint; says whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let Some(endpoint) = self.endpoints.remove(key) else {
            return false;
        };
        for name in &endpoint.names {
            if let Some(group) = self.forward.get_mut(name) {
                group.holders.retain(|holder| &*holder.key != key);
                if group.holders.is_empty() {
                    self.forward.remove(name);
                }
            }
        }
        for address in &endpoint.addresses {
            // The address may already belong to a later endpoint.
            if self
                .reverse
                .get(address)
                .is_some_and(|(owner, _)| &**owner == key)
            {
                self.reverse.remove(address);
            }
        }
        true
    }

    pub fn config(&self) -> &ZoneConfig {
        &self.config
    }

    /// How many endpoints have names here.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// What is known of `name`, which must be absolute, in any case.
    pub fn lookup(&self, name: &Name, record_type: RecordType) -> Lookup {
        if let Some(lookup) = self.lookup_forward(name, record_type) {
            return lookup;
        }
        if let Some(lookup) = self.lookup_reverse(name, record_type) {
            return lookup;
        }
        if is_localhost(name) {
            return Group::localhost().addresses(record_type);
        }
        if is_never_public(name, record_type) || self.private.holds(name) {
            return Lookup::Absent;
        }
        Lookup::Foreign
    }

    /// The addresses that a name of the network has now, in the order of the next answers. Nothing changes by it.
    pub fn peek(&self, name: &str) -> Vec<IpAddr> {
        let group = parse_name(name).ok();
        let group = group.and_then(|name| self.forward.get(&name));
        group.map(Group::peek).unwrap_or_default()
    }

    /// What is known of `name` where the name exists.
    pub(crate) fn known(&self, name: &Name, record_type: RecordType) -> Option<Lookup> {
        self.lookup_forward(name, record_type)
            .or_else(|| self.lookup_reverse(name, record_type))
            .filter(|lookup| *lookup != Lookup::Absent)
    }

    /// Whether `name` is one of an endpoint, or below one, with the network's name behind it.
    pub fn holds_qualified(&self, name: &Name) -> bool {
        let Some(network) = &self.network else {
            return false;
        };
        let mut name = name.clone();
        while name.num_labels() > network.num_labels() && network.zone_of(&name) {
            if self.forward.contains_key(&name) {
                return true;
            }
            name = name.base_name();
        }
        false
    }

    fn lookup_forward(&self, name: &Name, record_type: RecordType) -> Option<Lookup> {
        match self.forward.get(name) {
            Some(group) => Some(group.addresses(record_type)),
            None => self.lookup_service(name, record_type),
        }
    }

    /// `None` when `name` is not below a name of the network.
    fn lookup_service(&self, name: &Name, record_type: RecordType) -> Option<Lookup> {
        let asked = ServiceName::parse(name)?;
        let group = self.forward.get(&asked.base)?;
        let mut targets = Vec::new();
        for holder in group.rotated(RecordType::SRV) {
            let Some(endpoint) = self.endpoints.get(&holder.key) else {
                continue;
            };
            let number = asked.find(&endpoint.services);
            targets.extend(number.map(|number| ServiceTarget {
                target: endpoint.canonical.clone(),
                number,
                addresses: endpoint.addresses.clone(),
            }));
        }
        targets.truncate(MAX_TARGETS);
        Some(match record_type {
            _ if targets.is_empty() => Lookup::Absent,
            RecordType::SRV | RecordType::ANY => Lookup::Services(targets),
            _ => Lookup::NoData,
        })
    }

    /// `None` when `name` is not a reverse name of one of the network's subnets.
    fn lookup_reverse(&self, name: &Name, record_type: RecordType) -> Option<Lookup> {
        let block = name.parse_arpa_name().ok()?;
        let (address, prefix) = (block.addr(), block.prefix_len());
        let known = self.reverse.get(&address);
        let in_subnet = |subnet, length| length <= prefix && in_subnet(address, subnet, length);
        let mut own = self.config.subnets.iter();
        let is_here = known.is_some()
            || own.any(|(subnet, length)| in_subnet(*subnet, *length))
            || self.private.has_subnet(in_subnet);
        if !is_here {
            return None;
        }
        let is_whole = prefix == if address.is_ipv4() { 32 } else { 128 };
        let asks_pointer = matches!(record_type, RecordType::PTR | RecordType::ANY);
        Some(match known {
            // A block between the subnet and its addresses exists, with nothing of its own.
            _ if !is_whole => Lookup::NoData,
            Some((_, name)) if asks_pointer => Lookup::Pointer(name.clone()),
            Some(_) => Lookup::NoData,
            None => Lookup::Absent,
        })
    }

    fn names_of(&self, names: &EndpointNames) -> Result<Vec<Name>, InsertNames> {
        let texts = std::iter::once(&names.name)
            .chain(&names.aliases)
            .chain(&names.hostname)
            .chain(&names.short_id);
        let mut all = BTreeSet::new();
        for text in texts {
            let name = parse_name(text)?;
            all.insert(self.qualified(&name));
            all.insert(name);
            if all.len() > MAX_NAMES {
                return Err(InsertNames::TooManyNames(MAX_NAMES));
            }
        }
        Ok(all.into_iter().collect())
    }

    /// `name.network`, or the bare name where that would be too long.
    fn qualified(&self, name: &Name) -> Name {
        self.network
            .as_ref()
            .and_then(|network| name.clone().append_domain(network).ok())
            .unwrap_or_else(|| name.clone())
    }
}

/// Endpoints of one network: as many as a /16 has addresses.
const MAX_ENDPOINTS: usize = 65_536;
/// Names of one endpoint, bare and qualified.
const MAX_NAMES: usize = 128;
/// Custom records of one network.
const MAX_RECORDS: usize = 1024;
/// Endpoints in one SRV answer.
const MAX_TARGETS: usize = 100;

#[cfg(test)]
mod tests;
