//! A network's addresses, of both families.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;

use super::{AllocateAddress, CreatePool, Pool, Tenant};
use crate::record::{EndpointRecord, NetworkRecord, Subnet};

/// A pool for each of a network's subnets.
#[derive(Clone, Debug)]
pub struct Pools {
    pub v4: Option<Pool>,
    pub v6: Option<Pool>,
}

impl Pools {
    /// Of a network as its record has it, with nobody in it but the gateway and those whom it keeps addresses for.
    pub fn of(network: &NetworkRecord) -> Result<Self, CreatePool> {
        let pool = |subnet: Option<Subnet>, range| {
            subnet
                .map(|subnet| Pool::new(subnet.net, Some(subnet.gateway), range))
                .transpose()
        };
        let mut pools = Self {
            v4: pool(network.subnet_v4(), network.ip_range)?,
            v6: pool(network.subnet_v6(), None)?,
        };
        for (name, address) in &network.aux_addresses {
            if let Some(pool) = pools.pool_of(*address) {
                let _ = pool.take(*address, Tenant::Auxiliary(name.clone()));
            }
        }
        Ok(pools)
    }

    /// Takes the addresses that an endpoint had before; all of them, or none.
    pub fn take_back(&mut self, endpoint: &EndpointRecord) -> Result<(), AllocateAddress> {
        let mut taken = Vec::new();
        for address in endpoint.addresses() {
            let Some(pool) = self.pool_of(address) else {
                continue;
            };
            if let Err(error) = pool.take_back(address, Tenant::Endpoint(endpoint.name.clone())) {
                for address in taken {
                    self.free(address);
                }
                return Err(error);
            }
            taken.push(address);
        }
        Ok(())
    }

    /// Frees an endpoint's addresses.
    pub fn release(&mut self, endpoint: &EndpointRecord) {
        for address in endpoint.addresses() {
            self.free(address);
        }
    }

    /// The same for good: they rest until then.
    pub fn retire(&mut self, endpoint: &EndpointRecord, until: Instant) {
        self.release(endpoint);
        for address in endpoint.addresses() {
            if let Some(pool) = self.pool_of(address) {
                pool.rest(address, until);
            }
        }
    }

    /// Forgets who rested until `now`.
    pub fn wake(&mut self, now: Instant) {
        for pool in self.each() {
            pool.wake(now);
        }
    }

    /// Notes that an address is another host's endpoint's; one that an endpoint of this host has stays so, too.
    pub fn mark(&mut self, address: IpAddr, tenant: Tenant) {
        if let Some(pool) = self.pool_of(address) {
            pool.mark(address, tenant);
        }
    }

    /// Undoes [`Pools::mark`], unless somebody else has been noted since.
    pub fn unmark(&mut self, address: IpAddr, tenant: &Tenant) {
        if let Some(pool) = self.pool_of(address) {
            pool.unmark(address, tenant);
        }
    }

    /// Undoes every [`Pools::mark`].
    pub fn forget_marks(&mut self) {
        for pool in self.each() {
            pool.forget_marks();
        }
    }

    /// What this host owns of both subnets, from now on.
    pub fn own(&mut self, blocks: &[IpNet]) {
        for pool in self.each() {
            let subnet = pool.subnet();
            let of_it = blocks.iter().filter(|block| subnet.contains(*block));
            pool.own(of_it.copied().collect());
        }
    }

    /// Those of both families, the IPv4 ones first.
    pub fn owned(&self) -> Vec<IpNet> {
        let pools = [&self.v4, &self.v6].into_iter().flatten();
        pools
            .flat_map(|pool| pool.owned().iter().copied())
            .collect()
    }

    /// The pool of a subnet of the network.
    pub fn of_family(&self, is_ipv4: bool) -> Option<&Pool> {
        match is_ipv4 {
            true => self.v4.as_ref(),
            false => self.v6.as_ref(),
        }
    }

    /// Who has an address.
    pub fn tenant(&self, address: IpAddr) -> Option<&Tenant> {
        self.of_family(address.is_ipv4())?.tenant(address)
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Pool> {
        [&mut self.v4, &mut self.v6].into_iter().flatten()
    }

    fn pool_of(&mut self, address: IpAddr) -> Option<&mut Pool> {
        match address {
            IpAddr::V4(_) => self.v4.as_mut(),
            IpAddr::V6(_) => self.v6.as_mut(),
        }
    }

    fn free(&mut self, address: IpAddr) {
        if let Some(pool) = self.pool_of(address) {
            pool.release(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pools() -> Pools {
        Pools::of(&sample::network("n", &["10.1.0.0/24", "fd01::/64"])).unwrap()
    }

    #[test]
    fn an_endpoint_gets_back_all_its_addresses_or_none() {
        let mut pools = pools();
        let web = sample::endpoint("web", &["10.1.0.2", "fd01::2"]);
        pools.take_back(&web).unwrap();
        let taken = Tenant::Endpoint("web".into());
        assert_eq!(pools.tenant(ip("fd01::2")), Some(&taken));
        let late = sample::endpoint("late", &["10.1.0.3", "fd01::2"]);
        let refused = Err(AllocateAddress::Taken {
            address: ip("fd01::2"),
            tenant: taken,
        });
        assert_eq!(pools.take_back(&late), refused);
        assert_eq!(pools.tenant(ip("10.1.0.3")), None);
        pools.release(&web);
        assert_eq!(pools.take_back(&late), Ok(()));
    }

    fn elsewhere() -> Tenant {
        Tenant::Elsewhere {
            endpoint: "db".into(),
            host: "host-2".into(),
        }
    }

    #[test]
    fn what_another_host_has_is_taken_once_an_endpoint_here_has_left_it() {
        let mut pools = pools();
        let web = sample::endpoint("web", &["10.1.0.2"]);
        pools.take_back(&web).unwrap();
        pools.mark(ip("10.1.0.2"), elsewhere());
        let own = Some(Tenant::Endpoint("web".into()));
        assert_eq!(pools.tenant(ip("10.1.0.2")), own.as_ref());
        pools.release(&web);
        assert_eq!(pools.tenant(ip("10.1.0.2")), Some(&elsewhere()));
        assert_eq!(pools.take_back(&web), Ok(()));
        pools.mark(ip("10.1.0.3"), elsewhere());
        pools.unmark(ip("10.1.0.3"), &Tenant::Gateway);
        assert_eq!(pools.tenant(ip("10.1.0.3")), Some(&elsewhere()));
        pools.unmark(ip("10.1.0.3"), &elsewhere());
        assert_eq!(pools.tenant(ip("10.1.0.3")), None);
        pools.unmark(ip("10.1.0.2"), &elsewhere());
        pools.unmark(ip("10.1.0.1"), &Tenant::Gateway);
        assert_eq!(pools.tenant(ip("10.1.0.2")), own.as_ref());
        assert_eq!(pools.tenant(ip("10.1.0.1")), Some(&Tenant::Gateway));
    }

    #[test]
    fn a_shared_subnet_gives_what_the_host_owns_and_rests_what_was_used() {
        #[expect(
            clippy::disallowed_methods,
            reason = "there is no other moment to begin with"
        )]
        let now = Instant::now();
        let mut pools = pools();
        pools.own(&["10.1.0.0/30", "fd01::100/127"].map(|block| block.parse().unwrap()));
        pools.mark(ip("fd01::101"), elsewhere());
        let give = |pool: &mut Option<Pool>| {
            let pool = pool.as_mut().unwrap();
            pool.allocate(Tenant::Endpoint("x".into()))
        };
        assert_eq!(give(&mut pools.v6), Ok(ip("fd01::100")));
        assert!(give(&mut pools.v6).is_err());
        let v4 = pools.v4.as_ref().unwrap();
        assert_eq!((v4.spare(true), v4.useful(v4.owned()[0])), (2, 2));
        let web = sample::endpoint("web", &["10.1.0.2"]);
        pools.take_back(&web).unwrap();
        pools.retire(&web, now + std::time::Duration::from_secs(60));
        let v4 = pools.v4.as_ref().unwrap();
        assert_eq!((v4.spare(true), v4.spare(false)), (2, 1));
        let block = v4.owned()[0];
        assert!(v4.is_unused(block, true) && !v4.is_unused(block, false));
        for expected in ["10.1.0.3", "10.1.0.2"] {
            assert_eq!(give(&mut pools.v4), Ok(ip(expected)));
        }
        assert!(give(&mut pools.v4).is_err());
        let pool = pools.v4.as_mut().unwrap();
        let refused = pool.take(ip("10.1.0.9"), Tenant::Gateway);
        assert!(matches!(refused, Err(AllocateAddress::NotOwned { .. })));
    }

    #[test]
    fn addresses_that_are_kept_for_others_are_nobodys_to_take_or_to_free() {
        let mut network = sample::network("n", &["10.1.0.0/24"]);
        network.aux_addresses = [("router".to_owned(), ip("10.1.0.2"))].into();
        let mut pools = Pools::of(&network).unwrap();
        let refused = pools.take_back(&sample::endpoint("web", &["10.1.0.2"]));
        assert!(refused.unwrap_err().to_string().contains("router"));
        pools.unmark(ip("10.1.0.2"), &elsewhere());
        let first = pools.v4.as_mut().unwrap().allocate(elsewhere());
        assert_eq!(first.unwrap(), ip("10.1.0.3"));
    }

    #[test]
    fn a_network_of_one_family_has_no_pool_of_the_other() {
        let mut pools = Pools::of(&sample::network("n", &["fd01::/64"])).unwrap();
        assert!(pools.v4.is_none());
        pools
            .take_back(&sample::endpoint("web", &["10.1.0.2"]))
            .unwrap();
        pools.mark(ip("10.1.0.2"), elsewhere());
        assert_eq!(pools.tenant(ip("10.1.0.2")), None);
    }
}
