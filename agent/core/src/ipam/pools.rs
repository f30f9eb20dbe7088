//! A network's addresses, of both families.

use std::net::IpAddr;

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
            pools.mark(*address, Tenant::Auxiliary(name.clone()));
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
            if let Err(error) = pool.take(address, Tenant::Endpoint(endpoint.name.clone())) {
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

    /// Notes that an address is not to be given out; one that somebody has already stays as it is.
    pub fn mark(&mut self, address: IpAddr, tenant: Tenant) {
        if let Some(pool) = self.pool_of(address) {
            let _ = pool.take(address, tenant);
        }
    }

    /// Undoes [`Pools::mark`]; what an endpoint of this host has stays.
    pub fn unmark(&mut self, address: IpAddr) {
        if self.tenant(address).is_some_and(Tenant::is_mark) {
            self.free(address);
        }
    }

    /// Undoes every [`Pools::mark`].
    pub fn forget_marks(&mut self) {
        for pool in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            pool.forget_marks();
        }
    }

    /// Who has an address.
    pub fn tenant(&self, address: IpAddr) -> Option<&Tenant> {
        let pool = match address {
            IpAddr::V4(_) => self.v4.as_ref(),
            IpAddr::V6(_) => self.v6.as_ref(),
        };
        pool?.tenant(address)
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

    #[test]
    fn marks_come_and_go_and_never_take_from_an_endpoint() {
        let mut pools = pools();
        pools
            .take_back(&sample::endpoint("web", &["10.1.0.2"]))
            .unwrap();
        let web = Some(Tenant::Endpoint("web".into()));
        pools.mark(ip("10.1.0.2"), Tenant::Elsewhere);
        assert_eq!(pools.tenant(ip("10.1.0.2")), web.as_ref());
        pools.unmark(ip("10.1.0.2"));
        pools.unmark(ip("10.1.0.1"));
        assert_eq!(pools.tenant(ip("10.1.0.2")), web.as_ref());
        assert_eq!(pools.tenant(ip("10.1.0.1")), Some(&Tenant::Gateway));
        for mark in [Tenant::Elsewhere, Tenant::Reserve] {
            pools.mark(ip("fd01::7"), mark.clone());
            assert_eq!(pools.tenant(ip("fd01::7")), Some(&mark));
            pools.unmark(ip("fd01::7"));
            assert_eq!(pools.tenant(ip("fd01::7")), None);
        }
    }

    #[test]
    fn addresses_that_are_kept_for_others_are_nobodys_to_take_or_to_free() {
        let mut network = sample::network("n", &["10.1.0.0/24"]);
        network.aux_addresses = [("router".to_owned(), ip("10.1.0.2"))].into();
        let mut pools = Pools::of(&network).unwrap();
        let refused = pools.take_back(&sample::endpoint("web", &["10.1.0.2"]));
        assert!(refused.unwrap_err().to_string().contains("router"));
        pools.unmark(ip("10.1.0.2"));
        let first = pools.v4.as_mut().unwrap().allocate(Tenant::Elsewhere);
        assert_eq!(first.unwrap(), ip("10.1.0.3"));
    }

    #[test]
    fn a_network_of_one_family_has_no_pool_of_the_other() {
        let mut pools = Pools::of(&sample::network("n", &["fd01::/64"])).unwrap();
        assert!(pools.v4.is_none());
        pools
            .take_back(&sample::endpoint("web", &["10.1.0.2"]))
            .unwrap();
        pools.mark(ip("10.1.0.2"), Tenant::Elsewhere);
        assert_eq!(pools.tenant(ip("10.1.0.2")), None);
    }
}
