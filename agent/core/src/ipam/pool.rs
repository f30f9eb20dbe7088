//! One subnet's addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::block::{address, number};
use super::holding::Holding;
use super::tenant::Tenant;

/// The addresses of one subnet: who has which.
#[derive(Clone, Debug)]
pub struct Pool {
    subnet: IpNet,
    gateway: IpAddr,
    /// Where [`Pool::allocate`] searches, inclusive, as numbers.
    pub(super) first: u128,
    pub(super) last: u128,
    /// Of this host's endpoints, and of those whom the network keeps an address for.
    pub(super) taken: BTreeMap<u128, Tenant>,
    /// Of other hosts' endpoints: of several, while news of one that goes is on its way.
    pub(super) elsewhere: BTreeMap<u128, Vec<Tenant>>,
    /// Everything in the range below this is taken.
    search_from: u128,
    /// What this host owns of a subnet that it shares; absent where it is this host's alone.
    pub(super) holding: Option<Holding>,
}

/// Why a pool cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreatePool {
    #[error("subnet {0} has no room for a gateway and a container; use a shorter prefix")]
    TooSmall(IpNet),
    #[error("gateway {gateway} is outside subnet {subnet}; choose one inside")]
    GatewayOutside { gateway: IpAddr, subnet: IpNet },
    #[error(
        "gateway {gateway} is the network or broadcast address of subnet {subnet}; choose another one"
    )]
    GatewayReserved { gateway: IpAddr, subnet: IpNet },
    #[error("ip range {range} is outside subnet {subnet}; choose one inside")]
    RangeOutside { range: IpNet, subnet: IpNet },
}

/// Why an address cannot be given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateAddress {
    #[error("no free address is left in {within}; remove containers or use a larger subnet")]
    Exhausted { within: IpNet },
    #[error("address {address} is outside subnet {subnet}; choose one inside")]
    Outside { address: IpAddr, subnet: IpNet },
    #[error("address {address} is taken by {tenant}; choose another one")]
    Taken { address: IpAddr, tenant: Tenant },
    #[error(
        "address {address} is the network or broadcast address of subnet {subnet}; choose another one"
    )]
    Reserved { address: IpAddr, subnet: IpNet },
    #[error("address {address} is in no block of this host; choose another one")]
    NotOwned { address: IpAddr },
}

impl Pool {
    /// A pool over `subnet`. The gateway is the subnet's first address where absent; `ip_range` narrows what
    /// [`Pool::allocate`] gives, not what [`Pool::take`] accepts.
    pub fn new(
        subnet: IpNet,
        gateway: Option<IpAddr>,
        ip_range: Option<IpNet>,
    ) -> Result<Self, CreatePool> {
        let subnet = subnet.trunc();
        let (first, last) = usable(subnet);
        if last <= first {
            return Err(CreatePool::TooSmall(subnet));
        }
        let gateway = match gateway {
            None => address(subnet, first),
            Some(gateway) => checked_gateway(subnet, gateway)?,
        };
        let (first, last) = match ip_range {
            None => (first, last),
            Some(range) if subnet.contains(&range) => narrowed((first, last), range),
            Some(range) => return Err(CreatePool::RangeOutside { range, subnet }),
        };
        let taken = BTreeMap::from([(number(gateway), Tenant::Gateway)]);
        Ok(Self {
            subnet,
            gateway,
            first,
            last,
            taken,
            elsewhere: BTreeMap::new(),
            search_from: first,
            holding: None,
        })
    }

    /// The subnet, without host bits.
    pub const fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// The one address that is always taken.
    pub const fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// The address with the subnet's prefix length, as a link wants it.
    pub fn on_link(&self, address: IpAddr) -> IpNet {
        IpNet::new(address, self.subnet.prefix_len()).unwrap_or_else(|_| address.into())
    }

    /// Who has an address; `None` where it is free or outside the subnet.
    pub fn tenant(&self, address: IpAddr) -> Option<&Tenant> {
        let number = self.subnet.contains(&address).then(|| number(address))?;
        let elsewhere = || self.elsewhere.get(&number)?.last();
        self.taken.get(&number).or_else(elsewhere)
    }

    /// How many addresses are taken, the gateway's included.
    pub fn taken(&self) -> usize {
        let elsewhere = self.elsewhere.keys();
        self.taken.len()
            + elsewhere
                .filter(|number| !self.taken.contains_key(number))
                .count()
    }

    /// The lowest free address of the range; where the subnet is shared, the next free one of this host's blocks.
    pub fn allocate(&mut self, tenant: Tenant) -> Result<IpAddr, AllocateAddress> {
        let exhausted = AllocateAddress::Exhausted {
            within: self.range(),
        };
        let free = match &mut self.holding {
            None => self.free_from(self.search_from),
            Some(holding) => {
                let (taken, elsewhere) = (&self.taken, &self.elsewhere);
                holding.next((self.first, self.last), |number| {
                    !taken.contains_key(&number) && !elsewhere.contains_key(&number)
                })
            }
        };
        let free = free.ok_or(exhausted)?;
        self.taken.insert(free, tenant);
        self.search_from = free;
        Ok(address(self.subnet, free))
    }

    /// Gives out exactly this address, inside the range or not.
    pub fn take(&mut self, wanted: IpAddr, tenant: Tenant) -> Result<(), AllocateAddress> {
        let number = self.number_of(wanted)?;
        if let Some(tenant) = self.tenant(wanted) {
            return Err(taken_by(wanted, tenant));
        }
        if self
            .holding
            .as_ref()
            .is_some_and(|holding| !holding.owns(wanted))
        {
            return Err(AllocateAddress::NotOwned { address: wanted });
        }
        if let Some(holding) = &mut self.holding {
            holding.wake_one(number);
        }
        self.taken.insert(number, tenant);
        Ok(())
    }

    /// The same for who had it before, whoever owns it now and uses it elsewhere.
    pub(super) fn take_back(
        &mut self,
        wanted: IpAddr,
        tenant: Tenant,
    ) -> Result<(), AllocateAddress> {
        let number = self.number_of(wanted)?;
        if let Some(tenant) = self.taken.get(&number) {
            return Err(taken_by(wanted, tenant));
        }
        self.taken.insert(number, tenant);
        Ok(())
    }

    /// Frees an address and says whether it was taken. The gateway's is never freed.
    pub fn release(&mut self, address: IpAddr) -> bool {
        if address == self.gateway || !self.subnet.contains(&address) {
            return false;
        }
        let number = number(address);
        if number >= self.first {
            self.search_from = self.search_from.min(number);
        }
        self.taken.remove(&number).is_some()
    }

    /// Notes that an endpoint of another host has an address.
    pub(super) fn mark(&mut self, address: IpAddr, tenant: Tenant) {
        if let Ok(number) = self.number_of(address) {
            let tenants = self.elsewhere.entry(number).or_default();
            if !tenants.contains(&tenant) {
                tenants.push(tenant);
            }
        }
    }

    /// Undoes [`Pool::mark`].
    pub(super) fn unmark(&mut self, address: IpAddr, tenant: &Tenant) {
        let number = number(address);
        if let Some(tenants) = self.elsewhere.get_mut(&number) {
            tenants.retain(|other| other != tenant);
            if tenants.is_empty() {
                self.elsewhere.remove(&number);
            }
        }
    }

    /// Undoes every [`Pool::mark`].
    pub(super) fn forget_marks(&mut self) {
        self.elsewhere.clear();
    }

    /// Its number, where a host of the subnet can have it.
    pub(super) fn number_of(&self, wanted: IpAddr) -> Result<u128, AllocateAddress> {
        let subnet = self.subnet;
        if !subnet.contains(&wanted) {
            return Err(AllocateAddress::Outside {
                address: wanted,
                subnet,
            });
        }
        let number = number(wanted);
        let (first, last) = usable(subnet);
        if number < first || number > last {
            return Err(AllocateAddress::Reserved {
                address: wanted,
                subnet,
            });
        }
        Ok(number)
    }

    /// The lowest number of the range, from `start`, that nobody has.
    fn free_from(&self, start: u128) -> Option<u128> {
        let mut candidate = start;
        for &taken in self
            .taken
            .range(start..=self.last.max(start))
            .map(|(number, _)| number)
        {
            if taken > candidate {
                break;
            }
            candidate = taken.checked_add(1)?;
        }
        (candidate <= self.last).then_some(candidate)
    }

    /// The smallest prefix that holds the range.
    pub fn range(&self) -> IpNet {
        let mut range = IpNet::from(address(self.subnet, self.first));
        let last = address(self.subnet, self.last);
        while !range.contains(&last) {
            match range.supernet() {
                Some(wider) => range = wider,
                None => return self.subnet,
            }
        }
        range
    }
}

fn checked_gateway(subnet: IpNet, gateway: IpAddr) -> Result<IpAddr, CreatePool> {
    if !subnet.contains(&gateway) {
        return Err(CreatePool::GatewayOutside { gateway, subnet });
    }
    let (first, last) = usable(subnet);
    if !(first..=last).contains(&number(gateway)) {
        return Err(CreatePool::GatewayReserved { gateway, subnet });
    }
    Ok(gateway)
}

/// First and last address that a host may have. A two-address subnet has no others (RFC 3021, RFC 6164); otherwise the
/// first is the network's (IPv4) or the routers' anycast (RFC 4291 section 2.6.1), and IPv4's last is the broadcast.
fn usable(subnet: IpNet) -> (u128, u128) {
    let first = number(subnet.network());
    let last = number(subnet.broadcast());
    if subnet.max_prefix_len() - subnet.prefix_len() <= 1 {
        return (first, last);
    }
    match subnet {
        IpNet::V4(_) => (first + 1, last - 1),
        IpNet::V6(_) => (first + 1, last),
    }
}

pub(super) fn narrowed(usable: (u128, u128), range: IpNet) -> (u128, u128) {
    let first = number(range.network()).max(usable.0);
    let last = number(range.broadcast()).min(usable.1);
    (first, last)
}

fn taken_by(address: IpAddr, tenant: &Tenant) -> AllocateAddress {
    AllocateAddress::Taken {
        address,
        tenant: tenant.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> Tenant {
        Tenant::Endpoint(name.to_owned())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pool(subnet: &str) -> Pool {
        Pool::new(subnet.parse().unwrap(), None, None).unwrap()
    }

    #[test]
    fn the_first_container_gets_the_second_address() {
        let mut pool = pool("172.17.0.0/16");
        assert_eq!(pool.gateway(), ip("172.17.0.1"));
        assert_eq!(pool.allocate(named("a")).unwrap(), ip("172.17.0.2"));
        assert_eq!(pool.allocate(named("b")).unwrap(), ip("172.17.0.3"));
        assert_eq!(pool.on_link(ip("172.17.0.3")).to_string(), "172.17.0.3/16");
    }

    #[test]
    fn a_released_address_is_the_next_one_given() {
        let mut pool = pool("10.0.0.0/29");
        let given: Vec<_> = (0..5).map(|_| pool.allocate(named("x")).unwrap()).collect();
        assert_eq!(
            pool.allocate(named("z")),
            Err(AllocateAddress::Exhausted {
                within: "10.0.0.0/29".parse().unwrap()
            })
        );
        assert!(pool.release(given[3]) && pool.release(given[1]));
        assert_eq!(pool.allocate(named("y")).unwrap(), given[1]);
        assert_eq!(pool.allocate(named("y")).unwrap(), given[3]);
    }

    #[test]
    fn a_range_narrows_what_is_given_but_not_what_may_be_taken() {
        let range = Some("10.0.0.64/30".parse().unwrap());
        let mut pool = Pool::new("10.0.0.0/24".parse().unwrap(), None, range).unwrap();
        assert_eq!(pool.gateway(), ip("10.0.0.1"));
        let given: Vec<_> = (0..4).map(|_| pool.allocate(named("x")).unwrap()).collect();
        assert_eq!(
            given,
            ["10.0.0.64", "10.0.0.65", "10.0.0.66", "10.0.0.67"].map(ip)
        );
        assert!(pool.allocate(named("x")).is_err());
        assert_eq!(pool.take(ip("10.0.0.9"), named("x")), Ok(()));
    }

    #[test]
    fn errors_say_who_and_what_to_do() {
        let mut pool = pool("10.0.0.0/24");
        pool.take(ip("10.0.0.9"), named("container web")).unwrap();
        let message = |result: Result<(), AllocateAddress>| result.unwrap_err().to_string();
        assert_eq!(
            message(pool.take(ip("10.0.0.9"), named("x"))),
            "address 10.0.0.9 is taken by container web; choose another one"
        );
        assert_eq!(
            message(pool.take(ip("10.0.0.1"), named("x"))),
            "address 10.0.0.1 is taken by the gateway; choose another one"
        );
        for reserved in ["10.0.0.0", "10.0.0.255"] {
            assert!(matches!(
                pool.take(ip(reserved), named("x")),
                Err(AllocateAddress::Reserved { .. })
            ));
        }
        for outside in ["10.0.1.1", "fd00::1"] {
            assert!(matches!(
                pool.take(ip(outside), named("x")),
                Err(AllocateAddress::Outside { .. })
            ));
        }
    }

    #[test]
    fn a_gateway_must_be_a_host_address_of_the_subnet() {
        let subnet: IpNet = "10.0.0.0/24".parse().unwrap();
        let create = |gateway: &str| Pool::new(subnet, Some(ip(gateway)), None).map(|_| ());
        assert_eq!(create("10.0.0.254"), Ok(()));
        assert!(matches!(
            create("10.0.1.1"),
            Err(CreatePool::GatewayOutside { .. })
        ));
        assert!(matches!(
            create("10.0.0.255"),
            Err(CreatePool::GatewayReserved { .. })
        ));
        let range = Some("10.0.1.0/24".parse().unwrap());
        assert!(matches!(
            Pool::new(subnet, None, range),
            Err(CreatePool::RangeOutside { .. })
        ));
        assert!(matches!(
            Pool::new("10.0.0.1/32".parse().unwrap(), None, None),
            Err(CreatePool::TooSmall(_))
        ));
    }

    #[test]
    fn a_large_ipv6_subnet_costs_no_more_than_its_taken_addresses() {
        let mut pool = pool("fd00::/8");
        assert_eq!(pool.gateway(), ip("fd00::1"));
        assert_eq!(pool.allocate(named("x")).unwrap(), ip("fd00::2"));
        let last = ip("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(pool.take(last, named("x")), Ok(()));
        assert_eq!(pool.taken(), 3);
    }

    #[test]
    fn a_two_address_subnet_has_one_for_a_container() {
        let mut pool = pool("10.0.0.0/31");
        assert_eq!(pool.allocate(named("x")).unwrap(), ip("10.0.0.1"));
        assert!(pool.allocate(named("x")).is_err());
    }

    #[test]
    fn the_gateway_is_never_released() {
        let mut pool = pool("10.0.0.0/24");
        assert!(!pool.release(pool.gateway()));
        assert!(!pool.release(ip("10.0.0.7")));
        assert!(!pool.release(ip("::7")));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allocate,
        Take(u8),
        Release(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Allocate),
            1 => any::<u8>().prop_map(Step::Take),
            2 => any::<u8>().prop_map(Step::Release),
        ]
    }

    proptest! {
        #[test]
        fn the_pool_agrees_with_a_set(
            steps in prop::collection::vec(step(), 0..200),
            v6 in any::<bool>(),
        ) {
            let subnet: IpNet = if v6 { "fd00::/124" } else { "10.9.8.16/28" }.parse().unwrap();
            let base = number(subnet.network());
            let mut pool = Pool::new(subnet, None, None).unwrap();
            let (first, last) = usable(subnet);
            let mut model = BTreeSet::from([first]);
            for step in steps {
                match step {
                    Step::Allocate => {
                        let expected = (first..=last).find(|n| !model.contains(n));
                        let given = pool.allocate(named("x")).ok().map(number);
                        prop_assert_eq!(given, expected);
                        model.extend(given);
                    }
                    Step::Take(offset) => {
                        let wanted = base + u128::from(offset % 16);
                        let expected = (first..=last).contains(&wanted) && model.insert(wanted);
                        prop_assert_eq!(pool.take(address(subnet, wanted), named("x")).is_ok(), expected);
                    }
                    Step::Release(offset) => {
                        let wanted = base + u128::from(offset % 16);
                        let expected = wanted != first && model.remove(&wanted);
                        prop_assert_eq!(pool.release(address(subnet, wanted)), expected);
                    }
                }
                prop_assert_eq!(pool.taken(), model.len());
            }
        }
    }
}
