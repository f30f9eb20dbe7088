//! The IPAM driver: what the agent's networks have, and what was given a moment ago.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use agent_api::{Client, NetworkDetail};
use ipnet::IpNet;

use super::book::Book;
use super::ipam::{Held, Pool, choose, unique_local};
use super::options::NETWORK;
use super::translate::{is_of_engine, plain};
use super::wire::{
    AddressGiven, GATEWAY, OfAddress, PoolGiven, REQUEST_ADDRESS_TYPE, Refusal, RequestPool,
};

/// Gives subnets and addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    client: Client,
    book: Book,
    /// What subnets are cut from, with their prefix lengths.
    pools: Vec<(IpNet, u8)>,
    held: Mutex<Held>,
    /// Which network a subnet was seen to be of. It is asked whether that is so still.
    seen: Mutex<BTreeMap<IpNet, String>>,
}

impl Addresses {
    pub(super) fn new(client: Client, book: Book, pools: Vec<(IpNet, u8)>) -> Self {
        Self {
            client,
            book,
            pools,
            held: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    pub(super) async fn request_pool(&self, call: &RequestPool) -> Result<PoolGiven, Refusal> {
        if let Some(unknown) = call.options.keys().find(|name| *name != NETWORK) {
            return Err(Refusal::new(format!(
                "--ipam-opt {unknown} is unknown; there is {NETWORK}=NAME, for a tapestry network that is there"
            )));
        }
        if let Some(name) = call.options.get(NETWORK) {
            return self.pool_of(name, call).await;
        }
        let pool = match call.pool.as_str() {
            "" => Pool {
                subnet: self.free_subnet(call.v6).await?,
                range: None,
            },
            subnet => Pool::new(subnet, &call.sub_pool)?,
        };
        self.held().hold_pool(pool, Instant::now())?;
        Ok(given(pool, None))
    }

    /// What a network has that is there.
    async fn pool_of(&self, name: &str, call: &RequestPool) -> Result<PoolGiven, Refusal> {
        let network = self.client.network(name).await?;
        let is_v6 = |subnet: &&IpNet| matches!(subnet, IpNet::V6(_)) == call.v6;
        let subnet = network.subnets.iter().find(is_v6).ok_or_else(|| {
            let family = if call.v6 { "IPv6" } else { "IPv4" };
            Refusal::new(format!("network {name} has no {family} subnet"))
        })?;
        let pool = Pool::new(&subnet.to_string(), &call.sub_pool)?;
        let asked = match call.pool.as_str() {
            "" => pool.subnet,
            text => Pool::new(text, "")?.subnet,
        };
        if asked != pool.subnet {
            return Err(Refusal::new(format!(
                "network {name} has {}, and not {asked}; leave --subnet out",
                pool.subnet
            )));
        }
        // The engine asks for another one, again and again, where the host has a route to this one and the user did not name it.
        if call.pool.is_empty() && self.held().pools(Instant::now()).any(|held| held == pool) {
            return Err(Refusal::new(format!(
                "Docker takes no subnet that the host has a route to, unless it is named; add --subnet {}",
                pool.subnet
            )));
        }
        self.held().hold_pool(pool, Instant::now())?;
        let mut gateways = network.gateways.iter();
        let gateway = gateways.find(|gateway| subnet.contains(*gateway));
        Ok(given(pool, gateway.copied()))
    }

    /// A pool that the engine asked for has become a network's.
    pub(super) fn settle(&self, subnet: &str) {
        if let Ok(pool) = Pool::new(subnet, "") {
            self.held().release_subnet(pool.subnet);
        }
    }

    async fn free_subnet(&self, v6: bool) -> Result<IpNet, Refusal> {
        let mut used: Vec<_> = self
            .held()
            .pools(Instant::now())
            .map(|pool| pool.subnet)
            .collect();
        for network in self.client.networks().await? {
            // One that is gone by now uses nothing.
            if let Ok(network) = self.client.network(&network.id).await {
                used.extend(network.subnets);
            }
        }
        let is_of_family = |(base, _): &&(IpNet, u8)| matches!(base, IpNet::V6(_)) == v6;
        let bases: Vec<_> = self.pools.iter().filter(is_of_family).copied().collect();
        if v6 && bases.is_empty() {
            return Ok(unique_local(RandomState::new().hash_one(())));
        }
        choose(&bases, &used).ok_or_else(|| {
            Refusal::new("no subnet is left in the default address pools; choose one with --subnet")
        })
    }

    /// The part of a subnet that the engine asked of us a moment ago.
    pub(super) fn range_of(&self, subnet: &str) -> Option<IpNet> {
        let subnet = Pool::new(subnet, "").ok()?.subnet;
        let held = self.held();
        let mut pools = held.pools(Instant::now());
        pools
            .find(|pool| pool.subnet == subnet && pool.range.is_some())?
            .range
    }

    pub(super) fn release_pool(&self, pool: &str) {
        if let Ok(pool) = pool.parse() {
            self.held().release_pool(&pool);
        }
    }

    pub(super) async fn request_address(&self, call: &OfAddress) -> Result<AddressGiven, Refusal> {
        let pool: Pool = call.pool.parse()?;
        let network = self.network_with(pool.subnet).await?;
        let address = match (call.address.as_str(), is_for_gateway(call)) {
            ("", true) => gateway(&pool, network.as_ref()),
            (text, true) => pool.wished(text)?,
            (text, false) => {
                let taken = match &network {
                    Some(network) => self.taken(network).await?,
                    // The engine reserves addresses before it makes the network.
                    None if !text.is_empty() => BTreeMap::new(),
                    None => return Err(no_network(&pool)),
                };
                self.give(&pool, text, &taken)?
            }
        };
        Ok(AddressGiven {
            address: pool.on_link(address),
            data: BTreeMap::new(),
        })
    }

    /// A wished address, or the lowest free one.
    fn give(
        &self,
        pool: &Pool,
        wish: &str,
        taken: &BTreeMap<IpAddr, Tenant>,
    ) -> Result<IpAddr, Refusal> {
        let (mut held, now) = (self.held(), Instant::now());
        let address = match wish {
            "" => {
                let taken = taken.keys().copied().chain(held.addresses(now));
                pool.lowest_free(&taken.collect())?
            }
            text => {
                let address = pool.wished(text)?;
                // The engine may have forgotten who had it; that is seen when it makes the endpoint.
                match taken.get(&address).filter(|tenant| !tenant.is_of_engine) {
                    None => address,
                    Some(Tenant { name, .. }) => {
                        return Err(Refusal::new(format!(
                            "address {address} is taken by {name}; choose another one"
                        )));
                    }
                }
            }
        };
        held.hold(address, now)?;
        Ok(address)
    }

    pub(super) fn release_address(&self, address: &str) {
        if let Ok(address) = plain(address) {
            self.held().release(address);
        }
    }

    /// Who has which address on a network.
    async fn taken(&self, network: &NetworkDetail) -> Result<BTreeMap<IpAddr, Tenant>, Refusal> {
        let mut taken = BTreeMap::new();
        for endpoint in &network.endpoints {
            let tenant = Tenant {
                name: endpoint.name.clone(),
                is_of_engine: is_of_engine(endpoint),
            };
            let addresses = endpoint.addresses.iter().map(IpNet::addr);
            taken.extend(addresses.map(|address| (address, tenant.clone())));
        }
        let gateways = network.gateways.iter();
        taken.extend(gateways.map(|gateway| (*gateway, Tenant::new("the gateway"))));
        let pages = self.book.pages().await;
        let pages = pages.map_err(|error| Refusal::new(error.to_string()))?;
        for (id, page) in pages {
            if page.network.as_deref().unwrap_or(id.as_str()) == network.summary.id {
                let reserved = page.reserved.into_iter();
                taken.extend(reserved.map(|address| (address, Tenant::new("--aux-address"))));
            }
        }
        Ok(taken)
    }

    /// The network that has the subnet, if one has it.
    async fn network_with(&self, subnet: IpNet) -> Result<Option<NetworkDetail>, Refusal> {
        let has = |network: &NetworkDetail| network.subnets.contains(&subnet);
        let seen = self.seen().get(&subnet).cloned();
        if let Some(id) = seen {
            match self.client.network(&id).await {
                Ok(network) if has(&network) => return Ok(Some(network)),
                _ => self.seen().remove(&subnet),
            };
        }
        for summary in self.client.networks().await? {
            match self.client.network(&summary.id).await {
                Ok(network) if has(&network) => {
                    self.seen().insert(subnet, summary.id);
                    return Ok(Some(network));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<IpNet, String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has an address.
#[derive(Clone, Debug)]
struct Tenant {
    name: String,
    is_of_engine: bool,
}

impl Tenant {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_of_engine: false,
        }
    }
}

fn given(pool: Pool, gateway: Option<IpAddr>) -> PoolGiven {
    let gateway = gateway.map(|gateway| (GATEWAY, pool.on_link(gateway)));
    PoolGiven {
        id: pool.to_string(),
        pool: pool.subnet.to_string(),
        data: gateway.into_iter().collect(),
    }
}

fn gateway(pool: &Pool, network: Option<&NetworkDetail>) -> IpAddr {
    let mut gateways = network.into_iter().flat_map(|network| &network.gateways);
    let own = gateways.find(|gateway| pool.subnet.contains(*gateway));
    own.copied().unwrap_or_else(|| pool.first())
}

fn is_for_gateway(call: &OfAddress) -> bool {
    let asked = call.options.get(REQUEST_ADDRESS_TYPE);
    asked.is_some_and(|kind| kind == GATEWAY)
}

fn no_network(pool: &Pool) -> Refusal {
    Refusal::new(format!(
        "no tapestry network has {}; --ipam-driver tapestry is for networks of docker network create -d tapestry",
        pool.subnet
    ))
}
