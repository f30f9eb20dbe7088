//! Names that a host keeps to itself.
//!
//! # Theory of operation
//!
//! The names of every network of this host end in the network's name, and their addresses lie in its subnets. Neither means
//! anything elsewhere, so no network asks the world about the names and addresses of another.
//!
//! A network may be called like a public domain. Then its containers are found by their exact names, which other networks keep
//! to themselves too ([`crate::Zone::holds_qualified`]). Every other name under the domain still belongs to the world.
//!
//! A complete list of public domains would grow old. Here a name is taken for public if it has a dot and does not end in a
//! reserved domain, if it has two letters, or if it is a generic domain in wide use. A name that no top-level domain can have is
//! never public. Top-level domains are two or more letters, or internationalised (RFC 1123 §2.1, ICANN's Applicant Guidebook
//! §2.2.1.3.2).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hickory_proto::rr::{Name, RecordType};

use crate::name::parse_name;

/// Suffixes and subnets of all networks of a host. Its zones share one: a network that comes or goes is said here, and to none of
/// them.
#[derive(Debug, Default)]
pub struct PrivateNames(RwLock<Known>);

/// Each with how many networks have it.
#[derive(Debug, Default)]
struct Known {
    suffixes: HashMap<Name, usize>,
    subnets: BTreeMap<(IpAddr, u8), usize>,
}

impl PrivateNames {
    /// A network came: its name, unless that is a public domain or cannot be a DNS name, and its subnets (address and prefix
    /// length).
    pub fn add(&self, network: &str, subnets: &[(IpAddr, u8)]) {
        let mut known = self.write();
        if let Some(suffix) = suffix(network) {
            *known.suffixes.entry(suffix).or_default() += 1;
        }
        for subnet in subnets {
            *known.subnets.entry(*subnet).or_default() += 1;
        }
    }

    /// It went, called so and with those subnets.
    pub fn remove(&self, network: &str, subnets: &[(IpAddr, u8)]) {
        let mut known = self.write();
        if let Some(suffix) = suffix(network)
            && let Some(count) = known.suffixes.get_mut(&suffix)
        {
            *count -= 1;
            if *count == 0 {
                known.suffixes.remove(&suffix);
            }
        }
        for subnet in subnets {
            if let Some(count) = known.subnets.get_mut(subnet) {
                *count -= 1;
                if *count == 0 {
                    known.subnets.remove(subnet);
                }
            }
        }
    }

    /// Whether a network of this name stands in a public domain. The host does not keep such a suffix to itself.
    pub fn is_public(network: &str) -> bool {
        parse_name(network).is_ok_and(|network| is_public(&network))
    }

    /// Whether one of the subnets `fits`.
    pub(crate) fn has_subnet(&self, mut fits: impl FnMut(IpAddr, u8) -> bool) -> bool {
        let known = self.read();
        let mut subnets = known.subnets.keys();
        subnets.any(|(address, prefix)| fits(*address, *prefix))
    }

    /// Whether `name` is one of the suffixes or below one.
    pub(crate) fn holds(&self, name: &Name) -> bool {
        let known = self.read();
        if known.suffixes.is_empty() {
            return false;
        }
        let mut suffix = name.clone();
        while !suffix.is_root() {
            if known.suffixes.contains_key(&suffix) {
                return true;
            }
            suffix = suffix.base_name();
        }
        false
    }

    /// Nothing that panics runs under the lock.
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn suffix(network: &str) -> Option<Name> {
    let suffix = parse_name(network).ok();
    suffix.filter(|suffix| !is_public(suffix))
}

/// Whether `name` is `localhost` or below it (RFC 6761 §6.3).
pub(crate) fn is_localhost(name: &Name) -> bool {
    name.num_labels() > 0 && last_label(name).eq_ignore_ascii_case(b"localhost")
}

/// Whether no public server knows `name`: one label has no addresses at the root (RFC 7085), where only questions about
/// the zone itself make sense; `invalid` and `onion` do not exist by definition (RFC 6761 §6.4, RFC 7686).
pub(crate) fn is_never_public(name: &Name, record_type: RecordType) -> bool {
    let about_the_zone = matches!(
        record_type,
        RecordType::NS | RecordType::SOA | RecordType::DS | RecordType::DNSKEY
    );
    match name.num_labels() {
        0 => false,
        1 => !about_the_zone,
        _ => [&b"invalid"[..], b"onion"]
            .iter()
            .any(|never| last_label(name).eq_ignore_ascii_case(never)),
    }
}

/// Whether `address` lies in the subnet.
pub(crate) fn in_subnet(address: IpAddr, subnet: IpAddr, prefix: u8) -> bool {
    match (address, subnet) {
        (IpAddr::V4(address), IpAddr::V4(subnet)) => {
            let host_bits = 32_u32.saturating_sub(u32::from(prefix));
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            (address.to_bits() ^ subnet.to_bits()) & mask == 0
        }
        (IpAddr::V6(address), IpAddr::V6(subnet)) => {
            let host_bits = 128_u32.saturating_sub(u32::from(prefix));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            (address.to_bits() ^ subnet.to_bits()) & mask == 0
        }
        _ => false,
    }
}

fn is_public(name: &Name) -> bool {
    let last = last_label(name).to_ascii_lowercase();
    let is = |label: &&str| label.as_bytes() == last;
    if RESERVED.iter().any(is) || !may_be_top_level(&last) {
        return false;
    }
    name.num_labels() > 1 || last.len() == 2 || last.starts_with(b"xn--") || GENERIC.iter().any(is)
}

/// Whether there may be a top-level domain called `label`, which is in lower case.
fn may_be_top_level(label: &[u8]) -> bool {
    match label.strip_prefix(b"xn--") {
        Some(encoded) => !encoded.is_empty() && !encoded.contains(&b'_'),
        None => label.len() >= 2 && label.iter().all(u8::is_ascii_lowercase),
    }
}

fn last_label(name: &Name) -> &[u8] {
    name.iter().next_back().unwrap_or_default()
}

/// Domains that are nobody's in public: RFC 6761, RFC 6762, RFC 8375, and what sites use among themselves.
const RESERVED: [&str; 12] = [
    "internal",
    "local",
    "localhost",
    "localdomain",
    "lan",
    "home",
    "corp",
    "intranet",
    "private",
    "test",
    "example",
    "invalid",
];
/// Generic top-level domains in wide use.
const GENERIC: [&str; 48] = [
    "com",
    "net",
    "org",
    "edu",
    "gov",
    "mil",
    "int",
    "arpa",
    "info",
    "biz",
    "name",
    "pro",
    "mobi",
    "asia",
    "tel",
    "xxx",
    "app",
    "dev",
    "cloud",
    "online",
    "site",
    "store",
    "shop",
    "tech",
    "top",
    "club",
    "xyz",
    "live",
    "life",
    "world",
    "blog",
    "page",
    "work",
    "zone",
    "network",
    "systems",
    "services",
    "solutions",
    "software",
    "digital",
    "media",
    "email",
    "link",
    "run",
    "zip",
    "design",
    "space",
    "group",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, name: &str) -> bool {
        let names = PrivateNames::default();
        names.add(network, &[]);
        names.holds(&Name::from_ascii(name).unwrap())
    }

    #[test]
    fn a_networks_name_is_private_unless_it_is_a_public_domain() {
        assert!(holds("lab", "web.Lab."));
        assert!(holds("lab", "lab."));
        assert!(holds("my.internal", "a.b.my.internal."));
        assert!(!holds("my.internal", "metadata.other.internal."));
        for public in ["dev", "io", "IO", "example.com", "xn--p1ai", "a.xn--p1ai"] {
            assert!(!holds(public, &format!("web.{public}.")), "{public}");
        }
    }

    #[test]
    fn a_name_that_no_top_level_domain_can_have_is_private() {
        for private in [
            "n1", "1n", "42", "x", "a-", "a_", "lab.n1", "10.0.0", "my.net-1", "dev.x", "xn--",
            "xn--a_b",
        ] {
            assert!(holds(private, &format!("nope.{private}.")), "{private}");
            assert!(!PrivateNames::is_public(private), "{private}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_asked_for_is_no_suffix() {
        let names = PrivateNames::default();
        for network in ["a b", ""] {
            names.add(network, &[]);
        }
        assert!(names.read().suffixes.is_empty());
    }

    #[test]
    fn a_name_stays_private_until_the_last_network_that_has_it_goes() {
        let (names, web) = (PrivateNames::default(), "web.lab.".parse().unwrap());
        let subnet = (IpAddr::from([10, 1, 0, 0]), 16);
        let has_subnet = || names.has_subnet(|address, prefix| (address, prefix) == subnet);
        for _ in 0..2 {
            names.add("lab", &[subnet]);
        }
        names.remove("lab", &[subnet]);
        assert!(names.holds(&web) && has_subnet());
        names.remove("LAB", &[subnet]);
        assert!(!names.holds(&web) && !has_subnet());
        names.remove("lab", &[subnet]);
    }
}
