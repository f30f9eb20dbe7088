//! The names of one network.
//!
//! # Theory of operation
//!
//! An endpoint answers to its container's name, its aliases, its hostname and the short id, each bare and with the
//! network's name behind it. Names compare without case. Several endpoints may share a name: a lookup then returns
//! all of them, starting at another one each time, so that clients which take the first address spread out. Records
//! that the network's maker asked for stand beside the endpoints' names and stay as long as the zone.
//!
//! A published port has an SRV record `_service._tcp.name` (RFC 2782), where the service is the number that the container
//! listens on, the one that it was published as, or the registered name of either. Wherever it says to connect to is the
//! container, at its own number. Docker gives ports no names of their own, so there are no others.
//!
//! Names that the host keeps to itself ([`PrivateNames`]) are decided here even when they are unknown, and so are names
//! of one label, which no public server answers: neither is asked of the world. Every other name is foreign.
//!
//! Two maps hold the same endpoints, by key and by name; every change updates both, and a name without endpoints is
//! removed at once. The turn counters are the only thing a lookup changes.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};

use crate::group::{Group, Member};
use crate::private::{PrivateNames, in_subnet, is_localhost, is_never_public};
use crate::service::{Service, ServiceName, ServiceTarget};

/// A network's own facts, fixed for the zone's life.
#[derive(Clone, Debug, Default)]
pub struct ZoneConfig {
    /// The network's name: every endpoint also answers to `name.network`.
    pub network: String,
    /// Subnets (address and prefix length) whose reverse names are answered here and never forwarded.
    pub subnets: Vec<(IpAddr, u8)>,
    /// Names that have these addresses whoever is on the network. Check them with [`check_name`].
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
    #[error(
        "{0:?} cannot be a DNS name; use letters, digits, '-' and '_', at most 63 of them between dots and 253 in all"
    )]
    InvalidName(String),
}

/// What a zone knows about a name and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Addresses(Vec<IpAddr>),
    Pointer(Name),
    Services(Vec<ServiceTarget>),
    /// The name exists, without that type.
    NoData,
    /// The name is this network's to know, and it does not exist.
    Absent,
    /// Not this network's to know.
    Foreign,
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
                group.members.push(Member::record(*address));
            }
        }
        zone
    }

    /// Takes what the host keeps to itself, in place of what it kept before.
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
            group.members.push(Member {
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
                group.members.retain(|member| &*member.key != key);
                if group.members.is_empty() {
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
        for member in group.rotated(RecordType::SRV) {
            let Some(endpoint) = self.endpoints.get(&member.key) else {
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
        let in_subnet = |(subnet, length): &(IpAddr, u8)| {
            *length <= prefix && in_subnet(address, *subnet, *length)
        };
        let mut subnets = self.config.subnets.iter().chain(self.private.subnets());
        if known.is_none() && !subnets.any(in_subnet) {
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

/// Whether `text` can be a name of a zone: what Docker allows in container names, and DNS in labels.
pub fn check_name(text: &str) -> Result<(), InsertNames> {
    parse_name(text).map(drop)
}

/// Checks a name as [`check_name`] does, and makes it absolute.
pub(crate) fn parse_name(text: &str) -> Result<Name, InsertNames> {
    let invalid = || InsertNames::InvalidName(text.to_owned());
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err(invalid());
    }
    let mut name = Name::from_ascii(text).map_err(|_| invalid())?;
    name.set_fqdn(true);
    Ok(name)
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
mod tests {
    use super::*;
    use crate::Carrier;

    fn zone() -> Zone {
        Zone::new(ZoneConfig {
            network: "mynet".to_owned(),
            subnets: vec![
                ("10.1.0.0".parse().unwrap(), 16),
                ("fd00::".parse().unwrap(), 64),
            ],
            records: Vec::new(),
        })
    }

    fn names(name: &str, last: u8) -> EndpointNames {
        EndpointNames {
            name: name.to_owned(),
            aliases: vec!["db".to_owned()],
            v4: Some(Ipv4Addr::new(10, 1, 0, last)),
            ..EndpointNames::default()
        }
    }

    fn a(zone: &Zone, name: &str) -> Lookup {
        zone.lookup(&Name::from_ascii(name).unwrap(), RecordType::A)
    }

    fn addresses(lasts: &[u8]) -> Lookup {
        let address = |last: &u8| IpAddr::from([10, 1, 0, *last]);
        Lookup::Addresses(lasts.iter().map(address).collect())
    }

    #[test]
    fn every_name_of_an_endpoint_finds_it_in_any_case() {
        let mut zone = zone();
        let web = EndpointNames {
            hostname: Some("host1.example.com".to_owned()),
            short_id: Some("0123456789ab".to_owned()),
            ..names("web", 2)
        };
        zone.insert("1", web).unwrap();
        for name in [
            "web.",
            "WEB.",
            "web.mynet.",
            "Db.MyNet.",
            "db.",
            "host1.example.com.",
            "0123456789ab.",
        ] {
            assert_eq!(a(&zone, name), addresses(&[2]), "{name}");
        }
        assert_eq!(a(&zone, "web.other."), Lookup::Foreign);
    }

    #[test]
    fn only_names_of_endpoints_with_the_network_behind_them_are_qualified() {
        let mut zone = zone();
        let web = EndpointNames {
            hostname: Some("host1.example.com".to_owned()),
            ..names("web", 2)
        };
        zone.insert("1", web).unwrap();
        let holds = |name: &str| zone.holds_qualified(&Name::from_ascii(name).unwrap());
        for name in ["WEB.mynet.", "db.MyNet.", "_http._tcp.web.mynet."] {
            assert!(holds(name), "{name}");
        }
        for name in ["web.", "mynet.", "other.mynet.", "host1.example.com.", "."] {
            assert!(!holds(name), "{name}");
        }
    }

    #[test]
    fn shared_alias_rotates() {
        let mut zone = zone();
        for last in 1..=3 {
            zone.insert(&last.to_string(), names(&format!("web{last}"), last))
                .unwrap();
        }
        assert_eq!(a(&zone, "db."), addresses(&[1, 2, 3]));
        let v6 = zone.lookup(&Name::from_ascii("db.").unwrap(), RecordType::AAAA);
        assert_eq!(v6, Lookup::NoData);
        assert_eq!(a(&zone, "db."), addresses(&[2, 3, 1]));
        assert_eq!(a(&zone, "db."), addresses(&[3, 1, 2]));
        zone.remove("2");
        let Lookup::Addresses(left) = a(&zone, "db.") else {
            panic!("the alias is gone");
        };
        assert_eq!(left.len(), 2);
    }

    #[test]
    fn known_name_without_the_type_has_no_data() {
        let mut zone = zone();
        zone.insert("1", names("web", 2)).unwrap();
        for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT] {
            let name = Name::from_ascii("web.").unwrap();
            assert_eq!(zone.lookup(&name, kind), Lookup::NoData);
        }
    }

    #[test]
    fn reverse_names_of_own_subnets_stay_here() {
        let mut zone = zone();
        let web = EndpointNames {
            v6: Some("fd00::2".parse().unwrap()),
            ..names("web", 2)
        };
        zone.insert("1", web).unwrap();
        let ptr = |name: Name| zone.lookup(&name, RecordType::PTR);
        let of = |address: &str| Name::from(address.parse::<IpAddr>().unwrap());
        let web = Lookup::Pointer(Name::from_ascii("web.mynet.").unwrap());
        assert_eq!(ptr(of("10.1.0.2")), web);
        assert_eq!(ptr(of("fd00::2")), web);
        assert_eq!(ptr(of("10.1.0.3")), Lookup::Absent);
        assert_eq!(ptr(of("fd00::3")), Lookup::Absent);
        assert_eq!(ptr(of("10.2.0.2")), Lookup::Foreign);
        assert_eq!(zone.lookup(&of("10.1.0.2"), RecordType::A), Lookup::NoData);
        let block = |name: &str| ptr(Name::from_ascii(name).unwrap());
        assert_eq!(block("0.1.10.in-addr.arpa."), Lookup::NoData);
        assert_eq!(block("10.in-addr.arpa."), Lookup::Foreign);
    }

    #[test]
    fn what_the_host_keeps_to_itself_is_absent_until_it_is_given_up() {
        let mut zone = zone();
        let others = PrivateNames::new(["other", "mynet"], vec![("10.9.0.0".parse().unwrap(), 16)]);
        zone.set_private(Arc::new(others));
        for name in ["web.OTHER.", "nobody.mynet.", "a.b.other."] {
            assert_eq!(a(&zone, name), Lookup::Absent, "{name}");
        }
        let other = Name::from(IpAddr::from([10, 9, 0, 2]));
        assert_eq!(zone.lookup(&other, RecordType::PTR), Lookup::Absent);
        zone.set_private(Arc::default());
        assert_eq!(a(&zone, "web.other."), Lookup::Foreign);
        assert_eq!(zone.lookup(&other, RecordType::PTR), Lookup::Foreign);
    }

    #[test]
    fn names_of_one_label_are_never_asked_of_the_world() {
        let zone = zone();
        assert_eq!(a(&zone, "nobody."), Lookup::Absent);
        let com = Name::from_ascii("com.").unwrap();
        assert_eq!(zone.lookup(&com, RecordType::DS), Lookup::Foreign);
        assert_eq!(zone.lookup(&Name::root(), RecordType::NS), Lookup::Foreign);
    }

    #[test]
    fn localhost_is_this_very_machine() {
        let loopback = Lookup::Addresses(vec![Ipv4Addr::LOCALHOST.into()]);
        assert_eq!(a(&zone(), "localhost."), loopback);
        assert_eq!(a(&zone(), "app.LocalHost."), loopback);
    }

    #[test]
    fn custom_records_stand_beside_endpoints() {
        let record = |name: &str, address: &str| (name.to_owned(), address.parse().unwrap());
        let mut zone = Zone::new(ZoneConfig {
            records: vec![
                record("db.example.com", "192.0.2.1"),
                record("db.example.com", "2001:db8::1"),
                record("db", "10.1.0.99"),
            ],
            ..zone().config
        });
        zone.insert("1", names("web", 2)).unwrap();
        let v6 = Lookup::Addresses(vec!["2001:db8::1".parse().unwrap()]);
        let name = Name::from_ascii("db.example.com.").unwrap();
        assert_eq!(zone.lookup(&name, RecordType::AAAA), v6);
        let Lookup::Addresses(both) = a(&zone, "db.") else {
            panic!("no addresses");
        };
        assert_eq!(both.len(), 2);
        zone.remove("1");
        assert_eq!(a(&zone, "db."), addresses(&[99]));
    }

    #[test]
    fn published_ports_have_service_names() {
        let mut zone = zone();
        for (key, last) in [("1", 2), ("2", 3)] {
            let web = EndpointNames {
                services: vec![
                    service(Carrier::Tcp, 80, 8080, 1),
                    service(Carrier::Udp, 5353, 53, 1),
                    service(Carrier::Tcp, 8443, 443, 1),
                    service(Carrier::Tcp, 443, 8443, 1),
                    service(Carrier::Udp, 20_000, 30_000, 1000),
                ],
                ..names(&format!("web{last}"), last)
            };
            zone.insert(key, web).unwrap();
        }
        let srv = |name: &str| zone.lookup(&Name::from_ascii(name).unwrap(), RecordType::SRV);
        let targets = |name: &str| match srv(name) {
            Lookup::Services(targets) => targets.len(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(targets("_http._tcp.db.mynet."), 2);
        assert_eq!(targets("_80._TCP.web2."), 1);
        assert_eq!(targets("_5353._udp.web3."), 1);
        assert_eq!(srv("_81._tcp.web2."), Lookup::Absent);
        assert_eq!(srv("_http._udp.web2."), Lookup::Absent);
        assert_eq!(srv("_http._tcp.example.com."), Lookup::Foreign);
        assert_eq!(a(&zone, "_http._tcp.web2."), Lookup::NoData);
        // The number that a port was published as names it too, behind those that containers listen on.
        let number = |name: &str| match srv(name) {
            Lookup::Services(targets) => targets[0].number,
            other => panic!("{name}: {other:?}"),
        };
        for (name, expected) in [
            ("_80._tcp.web2.", 80),
            ("_8080._tcp.web2.", 80),
            ("_http-alt._tcp.web2.", 80),
            ("_domain._udp.web2.", 5353),
            ("_443._tcp.web2.", 443),
            ("_8443._tcp.web2.", 8443),
            ("_20999._udp.web2.", 20_999),
            ("_30999._udp.web2.", 20_999),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
        for name in ["_53._tcp.web2.", "_21000._udp.web2.", "_31000._udp.web2."] {
            assert_eq!(srv(name), Lookup::Absent, "{name}");
        }
    }

    fn service(carrier: Carrier, number: u16, published: u16, count: u16) -> Service {
        Service {
            carrier,
            number,
            published,
            count,
        }
    }

    #[test]
    fn replaced_endpoint_leaves_nothing_behind() {
        let mut zone = zone();
        zone.insert("1", names("web", 2)).unwrap();
        zone.insert("1", names("www", 3)).unwrap();
        assert_eq!(a(&zone, "web."), Lookup::Absent);
        assert_eq!(a(&zone, "db."), addresses(&[3]));
        assert!(zone.remove("1"));
        assert!(!zone.remove("1"));
        assert!(zone.forward.is_empty() && zone.reverse.is_empty() && zone.is_empty());
    }

    #[test]
    fn address_taken_over_keeps_its_new_name() {
        let mut zone = zone();
        zone.insert("1", names("old", 2)).unwrap();
        zone.insert("2", names("new", 2)).unwrap();
        zone.remove("1");
        let name = Name::from(IpAddr::from([10, 1, 0, 2]));
        let new = Lookup::Pointer(Name::from_ascii("new.mynet.").unwrap());
        assert_eq!(zone.lookup(&name, RecordType::PTR), new);
    }

    #[test]
    fn names_outside_the_grammar_are_refused_whole() {
        let mut zone = zone();
        for bad in ["", "a b", "a..b", "ü", "a\\032b", &"x".repeat(64), "a."] {
            let names = EndpointNames {
                aliases: vec![bad.to_owned()],
                ..names("web", 2)
            };
            let refused = zone.insert("1", names);
            assert_eq!(refused, Err(InsertNames::InvalidName(bad.to_owned())));
        }
        assert_eq!(a(&zone, "web."), Lookup::Absent);
    }

    #[test]
    fn names_of_an_endpoint_are_bounded() {
        let aliases = (0..200).map(|number| format!("alias{number}")).collect();
        let names = EndpointNames {
            aliases,
            ..names("web", 2)
        };
        let refused = zone().insert("1", names);
        assert_eq!(refused, Err(InsertNames::TooManyNames(MAX_NAMES)));
    }
}
