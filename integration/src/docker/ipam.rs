//! Subnets and addresses that the plugin gives where it is the engine's IPAM driver.
//!
//! # Theory of operation
//!
//! The agent knows who has which address; nothing is kept here twice. A pool's id says all there is about it, so the engine may come
//! back with it after any restart. Between the moment an address is given and the moment an endpoint has it lie a few
//! milliseconds in which the agent does not know: [`Held`] bridges them, in memory, for a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv6Net};

use super::wire::Refusal;

/// A subnet, and the part of it that containers get addresses from, written `10.1.0.0/16+10.1.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pool {
    pub(super) subnet: IpNet,
    pub(super) range: Option<IpNet>,
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.subnet)?;
        self.range.map_or(Ok(()), |range| write!(f, "+{range}"))
    }
}

impl FromStr for Pool {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text.split_once('+') {
            Some((subnet, range)) => Self::new(subnet, range),
            None => Self::new(text, ""),
        }
    }
}

impl Pool {
    /// An empty range is none.
    pub(super) fn new(subnet: &str, range: &str) -> Result<Self, Refusal> {
        let subnet = net(subnet)?;
        let range = match range {
            "" => None,
            range => Some(net(range)?),
        };
        match range.filter(|range| !subnet.contains(range)) {
            Some(outside) => Err(Refusal::new(format!(
                "ip range {outside} is outside subnet {subnet}; choose one inside"
            ))),
            None => Ok(Self { subnet, range }),
        }
    }

    /// The address with the subnet's prefix length, as the engine wants it.
    pub(super) fn on_link(&self, address: IpAddr) -> String {
        format!("{address}/{}", self.subnet.prefix_len())
    }

    /// What a network without a wish has as its gateway.
    pub(super) fn first(&self) -> IpAddr {
        after(self.subnet.network())
    }

    /// A wished address, if it can be one of the pool's.
    pub(super) fn wished(&self, text: &str) -> Result<IpAddr, Refusal> {
        let plain = text.split('/').next().unwrap_or(text);
        let address = plain
            .parse()
            .map_err(|_| Refusal::new(format!("{text:?} is no address; write one as 10.1.0.9")))?;
        match self.subnet.contains(&address) {
            true => Ok(address),
            false => Err(Refusal::new(format!(
                "address {address} is outside subnet {}; choose one inside",
                self.subnet
            ))),
        }
    }

    /// The lowest address that is not taken.
    pub(super) fn lowest_free(&self, taken: &BTreeSet<IpAddr>) -> Result<IpAddr, Refusal> {
        let within = self.range.unwrap_or(self.subnet);
        let last = within.broadcast();
        let is_for_hosts = |address: IpAddr| {
            address != self.subnet.network()
                && (address.is_ipv6() || address != self.subnet.broadcast())
        };
        let mut address = within.network();
        // Every turn but the ends of the subnet finds one that is taken, or returns.
        while taken.contains(&address) || !is_for_hosts(address) {
            if address == last {
                return Err(Refusal::new(format!(
                    "no free address is left in {within}; remove containers or use a larger subnet"
                )));
            }
            address = after(address);
        }
        Ok(address)
    }
}

/// The first subnet of the pools that overlaps none in use.
pub(super) fn choose(bases: &[(IpNet, u8)], used: &[IpNet]) -> Option<IpNet> {
    let overlaps = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
    let mut cut = bases
        .iter()
        .filter_map(|(base, len)| base.subnets(*len).ok())
        .flatten()
        .take(CANDIDATES_MAX);
    cut.find(|candidate| !used.iter().any(|used| overlaps(candidate, used)))
}

/// A unique local subnet (RFC 4193 §3.1) of these random bits.
pub(super) fn unique_local(random: u64) -> IpNet {
    let prefix = (0xfd << 40) | (u128::from(random) & 0xff_ffff_ffff);
    // 64 is a prefix length.
    Ipv6Net::new_assert(Ipv6Addr::from(prefix << 80), 64).into()
}

/// What was given a moment ago.
#[derive(Debug, Default)]
pub(super) struct Held {
    addresses: BTreeMap<IpAddr, Instant>,
    pools: BTreeMap<Pool, Instant>,
}

impl Held {
    /// Whether there was room to keep it in mind.
    pub(super) fn hold(&mut self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        keep(&mut self.addresses, address, now)
    }

    pub(super) fn hold_pool(&mut self, pool: Pool, now: Instant) -> Result<(), Refusal> {
        keep(&mut self.pools, pool, now)
    }

    pub(super) fn release(&mut self, address: IpAddr) {
        self.addresses.remove(&address);
    }

    pub(super) fn release_pool(&mut self, pool: &Pool) {
        self.pools.remove(pool);
    }

    /// All pools of a subnet.
    pub(super) fn release_subnet(&mut self, subnet: IpNet) {
        self.pools.retain(|pool, _| pool.subnet != subnet);
    }

    pub(super) fn addresses(&self, now: Instant) -> impl Iterator<Item = IpAddr> {
        let young = self.addresses.iter();
        young
            .filter(move |(_, held)| is_young(**held, now))
            .map(|(address, _)| *address)
    }

    pub(super) fn pools(&self, now: Instant) -> impl Iterator<Item = Pool> {
        let young = self.pools.iter();
        young
            .filter(move |(_, held)| is_young(**held, now))
            .map(|(pool, _)| *pool)
    }
}

fn keep<K: Ord>(held: &mut BTreeMap<K, Instant>, key: K, now: Instant) -> Result<(), Refusal> {
    held.retain(|_, since| is_young(*since, now));
    if held.len() >= HELD_MAX {
        return Err(Refusal::new(format!(
            "{HELD_MAX} addresses are asked for at once; try again in a minute"
        )));
    }
    held.insert(key, now);
    Ok(())
}

fn is_young(held: Instant, now: Instant) -> bool {
    now.saturating_duration_since(held) < HOLD
}

fn net(text: &str) -> Result<IpNet, Refusal> {
    let net: Result<IpNet, _> = text.parse();
    net.map(|net| net.trunc())
        .map_err(|_| Refusal::new(format!("{text:?} is no subnet; write one as 10.1.0.0/16")))
}

fn after(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).wrapping_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).wrapping_add(1)).into(),
    }
}

const HOLD: Duration = Duration::from_secs(60);
const HELD_MAX: usize = 4096;
const CANDIDATES_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str) -> Pool {
        text.parse().unwrap()
    }

    fn free(pool: &Pool, taken: &[&str]) -> Result<String, Refusal> {
        let taken = taken.iter().map(|address| address.parse().unwrap());
        pool.lowest_free(&taken.collect())
            .map(|free| free.to_string())
    }

    #[test]
    fn a_pools_id_is_read_back() {
        for text in ["10.1.0.0/16", "10.1.0.0/16+10.1.2.0/24", "fd01::/64"] {
            assert_eq!(pool(text).to_string(), text);
        }
        assert_eq!(Pool::new("10.1.2.3/16", "").unwrap(), pool("10.1.0.0/16"));
        assert!(Pool::new("10.1.0.0/16", "10.2.0.0/24").is_err());
        assert!("".parse::<Pool>().is_err());
        assert!("10.1.0.0/33".parse::<Pool>().is_err());
    }

    #[test]
    fn the_lowest_free_address_is_given() {
        let small = pool("10.1.0.0/30");
        assert_eq!(free(&small, &[]).unwrap(), "10.1.0.1");
        assert_eq!(free(&small, &["10.1.0.1"]).unwrap(), "10.1.0.2");
        let told = free(&small, &["10.1.0.1", "10.1.0.2"])
            .unwrap_err()
            .to_string();
        assert!(told.contains("10.1.0.0/30"), "{told}");
        let range = pool("10.1.0.0/16+10.1.2.0/31");
        assert_eq!(free(&range, &["10.1.2.0"]).unwrap(), "10.1.2.1");
        assert_eq!(free(&pool("fd01::/64"), &["fd01::1"]).unwrap(), "fd01::2");
        assert!(free(&pool("255.255.255.254/31"), &["255.255.255.254"]).is_err());
    }

    #[test]
    fn wished_addresses_are_inside() {
        let pool = pool("10.1.0.0/16");
        assert_eq!(pool.wished("10.1.9.9/16").unwrap().to_string(), "10.1.9.9");
        assert!(pool.wished("10.2.0.1").is_err());
        assert!(pool.wished("ten").is_err());
        assert_eq!(pool.on_link(pool.first()), "10.1.0.1/16");
    }

    #[test]
    fn a_subnet_is_chosen_beside_those_in_use() {
        let bases = [
            ("172.17.0.0/16".parse().unwrap(), 16),
            ("10.0.0.0/23".parse().unwrap(), 24),
        ];
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert_eq!(choose(&bases, &[]), Some(net("172.17.0.0/16")));
        let used = [net("172.16.0.0/12"), net("10.0.0.128/25")];
        assert_eq!(choose(&bases, &used), Some(net("10.0.1.0/24")));
        assert_eq!(choose(&bases, &[net("0.0.0.0/0")]), None);
        let local = unique_local(u64::MAX);
        assert_eq!(local, net("fdff:ffff:ffff::/64"));
    }

    #[test]
    fn what_was_given_is_held_for_a_minute() {
        let (mut held, start) = (Held::default(), Instant::now());
        let address = IpAddr::from([10, 1, 0, 2]);
        held.hold(address, start).unwrap();
        held.hold_pool(pool("10.1.0.0/16"), start).unwrap();
        assert_eq!(held.addresses(start).count(), 1);
        assert_eq!(held.pools(start + HOLD).count(), 0);
        assert_eq!(held.addresses(start + HOLD).count(), 0);
        held.release(address);
        held.release_subnet("10.1.0.0/16".parse().unwrap());
        assert_eq!(held.addresses(start).count(), 0);
        assert_eq!(held.pools(start).count(), 0);
    }

    #[test]
    fn memory_of_what_is_held_has_an_end() {
        let (mut held, start) = (Held::default(), Instant::now());
        for number in 0..4096_u32 {
            held.hold(Ipv4Addr::from(number).into(), start).unwrap();
        }
        let one_more = IpAddr::from([10, 1, 0, 2]);
        assert!(held.hold(one_more, start).is_err());
        held.hold(one_more, start + HOLD).unwrap();
        assert_eq!(held.addresses(start + HOLD).count(), 1);
    }
}
