//! Hosts that share a network's addresses, with a store that is always there: whoever wants an address gets one while there are
//! any, and the rules for pages hold at every write.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may read clocks and settings"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use agent_api::NetworkCreate;
use agent_core::ipam::{AllocateAddress, Pools, Tenant, default_pools_v4};
use agent_core::network::{self, Surroundings};
use agent_core::record::NetworkRecord;
use agent_core::shared::blocks::{Blocks, PageRefused, WritePage, check_page, owner_of};
use agent_core::shared::holdings::{
    Way, Wish, Withheld, first_blocks, holders, part_to_give, surplus, wanted, way,
};
use agent_core::shared::{
    ALIVE, AliveRecord, BLOCKS, Entry, Event, HOSTS, HostRecord, Moment, PageRecord, World,
};
use ipnet::IpNet;
use proptest::prelude::*;

/// What all hosts know is the same here.
struct Site {
    network: NetworkRecord,
    subnet: IpNet,
    world: World,
    revision: u64,
    hosts: Vec<Host>,
    now: Instant,
}

struct Host {
    id: String,
    pools: Pools,
    withheld: Withheld,
}

impl Site {
    fn new(subnet: &str, hosts: usize) -> Self {
        let subnet: IpNet = subnet.parse().unwrap();
        let request = NetworkCreate {
            name: "n".into(),
            subnets: vec![subnet],
            ipv6: matches!(subnet, IpNet::V6(_)),
            ..NetworkCreate::default()
        };
        let around = Surroundings {
            networks: Vec::new(),
            host: Vec::new(),
            pools_v4: default_pools_v4(),
            pools_v6: Vec::new(),
            mtu_max: None,
        };
        let network = network::plan("n".into(), request, None, &around).unwrap();
        let mut site = Self {
            network,
            subnet,
            world: World::default(),
            revision: 0,
            hosts: Vec::new(),
            now: Instant::now(),
        };
        for number in 1..=hosts {
            site.join(number);
        }
        site
    }

    fn join(&mut self, number: usize) {
        let id = format!("h{number}");
        let known = HostRecord {
            name: format!("host-{number}"),
            address: [10, 0, 0, 1].into(),
            joined_s: 0,
        };
        let alive = AliveRecord {
            address: [10, 0, 0, 1].into(),
            inside: None,
            quic_udp_port: None,
            run: "r".into(),
            certificate: None,
        };
        self.put(format!("{HOSTS}{id}"), &known);
        self.put(format!("{ALIVE}{id}"), &alive);
        let mut pools = Pools::of(&self.network).unwrap();
        pools.own(&[]);
        self.hosts.push(Host {
            id,
            pools,
            withheld: Withheld::default(),
        });
    }

    fn put(&mut self, key: String, value: &impl serde::Serialize) {
        self.revision += 1;
        let entry = Entry {
            key,
            value: serde_json::to_value(value).unwrap(),
            revision: self.revision,
        };
        self.world
            .apply(Event::Put(entry), &Moment::alone(self.now));
    }

    fn blocks(&self) -> Blocks {
        Blocks::of(&self.world, &self.network.id, self.subnet)
    }

    fn write(&mut self, host: usize, page: WritePage) {
        let before = self.world.find::<PageRecord>(&page.key);
        assert!(page.before.is_so(self.world.entry(&page.key)));
        let first: IpAddr = page.key.rsplit('/').next().unwrap().parse().unwrap();
        let net = agent_core::ipam::block::page_of(self.subnet, first);
        let before = before.unwrap_or_default().0;
        let id = self.hosts[host].id.clone();
        check_page(net, (&before, &page.record), &id, |_| true).unwrap();
        self.put(page.key, &page.record);
        let blocks = self.blocks();
        for host in &mut self.hosts {
            host.pools.own(&host.withheld.own(&blocks, &host.id));
        }
    }

    fn tend(&mut self, host: usize) {
        let is_ipv4 = self.subnet.addr().is_ipv4();
        for _ in 0..64 {
            let (blocks, now) = (self.blocks(), self.now);
            let Host {
                id,
                pools,
                withheld,
            } = &mut self.hosts[host];
            pools.wake(now);
            let pool = pools.of_family(is_ipv4).unwrap();
            let page = if let Some(block) = wanted(&blocks, pool, id) {
                blocks.take(block, id)
            } else if let Some(block) = surplus(&blocks, pool, id) {
                withheld.hold_back(pools, &blocks, block);
                blocks.give(block, None)
            } else {
                return;
            };
            self.write(host, page);
        }
        panic!("it does not come to rest");
    }

    fn pool(&mut self, host: usize) -> &mut agent_core::ipam::Pool {
        let pools = &mut self.hosts[host].pools;
        match self.subnet {
            IpNet::V4(_) => pools.v4.as_mut().unwrap(),
            IpNet::V6(_) => pools.v6.as_mut().unwrap(),
        }
    }

    /// An address for a new endpoint; who has how many where there is none.
    fn attach(&mut self, host: usize, wish: Option<IpAddr>) -> Result<IpAddr, String> {
        let is_ipv4 = self.subnet.addr().is_ipv4();
        let tenant = Tenant::Endpoint("e".into());
        let mut asked = BTreeSet::new();
        for _ in 0..64 {
            let given = match wish {
                None => self.pool(host).allocate(tenant.clone()),
                Some(wish) => self.pool(host).take(wish, tenant.clone()).map(|()| wish),
            };
            match given {
                Ok(address) => {
                    self.note(host, address, true);
                    return Ok(address);
                }
                Err(AllocateAddress::Exhausted { .. } | AllocateAddress::NotOwned { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
            let wish = wish.map_or(Wish::Any { is_ipv4 }, Wish::Address);
            let blocks = self.blocks();
            let Host { id, pools, .. } = &self.hosts[host];
            let (id, pool) = (id.clone(), pools.of_family(is_ipv4).unwrap());
            match way(&blocks, &self.world, pool, &id, wish) {
                Way::Own => panic!("it was not given"),
                Way::Take(block) => self.write(host, blocks.take(block, &id)),
                Way::Ask(owners) => {
                    let Some(owner) = owners.into_iter().find(|owner| !asked.contains(owner))
                    else {
                        return Err(holders(&blocks, pool));
                    };
                    self.answer(&owner, &id, wish);
                    asked.insert(owner);
                }
            }
        }
        panic!("it does not end");
    }

    fn answer(&mut self, owner: &str, asker: &str, wish: Wish) {
        let is_ipv4 = self.subnet.addr().is_ipv4();
        let at = self.hosts.iter().position(|host| host.id == owner).unwrap();
        let blocks = self.blocks();
        let Host {
            pools, withheld, ..
        } = &mut self.hosts[at];
        let pool = pools.of_family(is_ipv4).unwrap();
        if let Some(part) = part_to_give(&blocks, pool, owner, wish) {
            withheld.hold_back(pools, &blocks, part);
            self.write(at, blocks.give(part, Some(asker)));
        }
    }

    fn note(&mut self, host: usize, address: IpAddr, is_there: bool) {
        let tenant = Tenant::Elsewhere {
            endpoint: "e".into(),
            host: self.hosts[host].id.clone(),
        };
        for (other, host_of) in self.hosts.iter_mut().enumerate() {
            if other != host {
                match is_there {
                    true => host_of.pools.mark(address, tenant.clone()),
                    false => host_of.pools.unmark(address, &tenant),
                }
            }
        }
    }

    fn detach(&mut self, host: usize, address: IpAddr) {
        self.pool(host).release(address);
        self.note(host, address, false);
    }

    /// No address has two owners, and each host knows its own.
    fn check(&self) {
        let mut all: Vec<IpNet> = Vec::new();
        for (block, owner) in self.blocks().all() {
            assert!(self.subnet.contains(&block));
            let other = all
                .iter()
                .find(|other| agent_core::ipam::block::overlap(**other, block));
            assert_eq!(other, None, "{block} of {owner}");
            all.push(block);
            let found = owner_of(&self.world, &self.network.id, block.addr());
            assert_eq!(found.as_deref(), Some(owner));
        }
        for host in &self.hosts {
            let mut of_it: Vec<_> = self.blocks().of_host(&host.id).collect();
            of_it.sort();
            assert_eq!(host.pools.owned(), of_it);
        }
    }
}

/// Hosts that join one after the other have an address each.
fn everyone_gets_one(subnet: &str, hosts: usize) {
    let mut site = Site::new(subnet, hosts);
    (0..hosts).for_each(|host| site.tend(host));
    let given: Result<BTreeSet<_>, _> = (0..hosts).map(|host| site.attach(host, None)).collect();
    assert_eq!(given.unwrap().len(), hosts);
    site.check();
}

#[test]
fn every_host_has_an_address_in_small_ranges_and_large_ones() {
    for (subnet, hosts) in [
        ("10.1.0.0/28", 4),
        ("10.1.0.0/28", 13),
        ("10.1.0.0/24", 31),
        ("10.1.0.0/24", 253),
        ("10.1.0.0/16", 3),
        ("fd01::/64", 40),
        ("fd01::/124", 14),
    ] {
        everyone_gets_one(subnet, hosts);
    }
}

#[test]
fn a_range_is_used_to_its_last_address_and_then_it_is_said_who_has_them() {
    for (subnet, addresses) in [("10.1.0.0/27", 29), ("fd01::/123", 30)] {
        let mut site = Site::new(subnet, 3);
        (0..3).for_each(|host| site.tend(host));
        let given: Result<BTreeSet<_>, _> = (0..addresses)
            .map(|n| {
                (0..3).for_each(|host| site.tend(host));
                site.attach(n % 3, None)
            })
            .collect();
        assert_eq!(given.unwrap().len(), addresses);
        site.check();
        let said = site.attach(0, None).unwrap_err();
        let of_each: Vec<_> = said.split(", ").collect();
        assert_eq!(of_each.len(), 3, "{said}");
        assert!(of_each[1].starts_with("host-2 has "), "{said}");
    }
}

/// One host has everything, and next to nothing in use.
#[test]
fn a_host_that_has_much_gives_half_of_it_to_one_that_has_nothing() {
    let mut site = Site::new("10.1.0.0/28", 1);
    for _ in 0..13 {
        site.attach(0, None).unwrap();
    }
    for last in 3..=14 {
        site.detach(0, [10, 1, 0, last].into());
    }
    site.join(2);
    site.tend(1);
    let given = site.attach(1, None).unwrap();
    assert!(site.hosts[1].pools.owned()[0].contains(&given));
    site.check();
    assert_eq!(site.attach(0, None).map(drop), Ok(()));
}

#[test]
fn an_address_of_another_hosts_block_is_given_up_unless_somebody_has_it() {
    let mut site = Site::new("10.1.0.0/24", 2);
    (0..2).for_each(|host| site.tend(host));
    let block = site.hosts[1].pools.owned()[0];
    let mut inside = block
        .hosts()
        .filter(|address| site.network.subnets[0].gateway != *address);
    let (wish, taken) = (inside.next().unwrap(), inside.next().unwrap());
    assert_eq!(site.attach(0, Some(wish)), Ok(wish));
    let own: BTreeSet<_> = site.hosts[0].pools.owned().into_iter().collect();
    assert!(
        own.contains(&IpNet::from(wish)),
        "no more than that: {own:?}"
    );
    assert_eq!(site.attach(1, Some(taken)), Ok(taken));
    let refused = site.attach(0, Some(taken)).unwrap_err();
    assert!(refused.contains("taken by e on h2"), "{refused}");
    site.check();
}

#[test]
fn a_network_comes_with_a_block_for_each_host() {
    let mut site = Site::new("10.1.0.0/16", 12);
    let hosts: Vec<_> = site.hosts.iter().map(|host| host.id.clone()).collect();
    let blocks = site.blocks();
    let pool = site.hosts[0].pools.v4.as_ref().unwrap();
    let pages = blocks.assign(&first_blocks(&blocks, pool, &hosts));
    assert_eq!(pages.len(), 3);
    for page in pages {
        site.write(0, page);
    }
    site.check();
    for host in 0..12 {
        let before = site.revision;
        site.tend(host);
        assert_eq!(site.revision, before, "host {host} is content");
        assert!(site.attach(host, None).is_ok());
    }
}

#[test]
fn what_other_members_own_stays_as_it_is() {
    let page: IpNet = "10.1.0.0/24".parse().unwrap();
    let record = |blocks: &[(&str, &str)]| PageRecord {
        owners: blocks
            .iter()
            .map(|(block, host)| (block.parse().unwrap(), (*host).to_owned()))
            .collect(),
    };
    let before = record(&[
        ("10.1.0.0/28", "a"),
        ("10.1.0.16/28", "b"),
        ("10.1.0.64/28", "gone"),
    ]);
    let check = |blocks: &[(&str, &str)]| {
        check_page(page, (&before, &record(blocks)), "a", |host| host != "gone")
    };
    let b = ("10.1.0.16/28", "b");
    assert_eq!(
        check(&[b, ("10.1.0.0/29", "a"), ("10.1.0.8/29", "c")]),
        Ok(())
    );
    assert_eq!(check(&[b, ("10.1.0.64/27", "a")]), Ok(()));
    assert_eq!(check(&[b]), Ok(()));
    for (blocks, refused) in [
        (vec![("10.1.0.0/28", "a")], "of host b"),
        (vec![("10.1.0.16/28", "a")], "of host b"),
        (vec![b, ("10.1.0.24/29", "a")], "overlaps"),
        (vec![b, ("10.1.1.0/28", "a")], "not on page"),
        (vec![b, ("10.1.0.9/28", "a")], "not on page"),
        (vec![b, ("10.1.0.64/28", "gone")], "no host"),
    ] {
        let error: PageRefused = check(&blocks).unwrap_err();
        assert!(error.to_string().contains(refused), "{error} {blocks:?}");
    }
}

/// A host that has given a part away gives nothing of it out, until it knows how that ended.
#[test]
fn what_is_withheld_comes_back_only_when_its_page_was_written_since() {
    let mut site = Site::new("10.1.0.0/24", 2);
    (0..2).for_each(|host| site.tend(host));
    let blocks = site.blocks();
    let block = site.hosts[0].pools.owned()[0];
    let Host {
        pools, withheld, ..
    } = &mut site.hosts[0];
    withheld.hold_back(pools, &blocks, block);
    assert!(pools.owned().is_empty());
    assert!(withheld.own(&blocks, "h1").is_empty());
    let mut fences = withheld.fences(&blocks);
    let fence = fences.pop().unwrap();
    assert!(fences.is_empty());
    // Whoever is still about to replace the page as it was comes too late after it.
    assert_eq!(fence.before, blocks.give(block, Some("h2")).before);
    site.write(0, fence);
    assert_eq!(site.hosts[0].pools.owned(), [block]);
    assert!(site.hosts[0].withheld.fences(&site.blocks()).is_empty());
}

const CASES: u32 = if cfg!(debug_assertions) { 24 } else { 256 };

#[derive(Clone, Debug)]
enum Step {
    Attach(usize, Option<u8>),
    Detach(usize),
    Tend(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let wish = prop::option::weighted(0.2, 0..32u8);
    prop_oneof![
        5 => (0..4usize, wish).prop_map(|(host, wish)| Step::Attach(host, wish)),
        3 => any::<usize>().prop_map(Step::Detach),
        2 => (0..4usize).prop_map(Step::Tend),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn who_wants_an_address_gets_one_while_there_are_any(
        steps in prop::collection::vec(step(), 0..120),
        v6 in any::<bool>(),
    ) {
        let (subnet, room) = if v6 { ("fd01::/123", 30) } else { ("10.1.0.0/27", 29) };
        let mut site = Site::new(subnet, 4);
        let mut held: Vec<(usize, IpAddr)> = Vec::new();
        for step in steps {
            match step {
                Step::Attach(host, None) => match site.attach(host, None) {
                    Ok(address) => held.push((host, address)),
                    Err(said) => prop_assert_eq!(held.len(), room, "{}", said),
                },
                Step::Attach(host, Some(wish)) => {
                    let wish = site.subnet.hosts().nth(wish.into()).unwrap_or(site.subnet.addr());
                    if let Ok(address) = site.attach(host, Some(wish)) {
                        held.push((host, address));
                    }
                }
                Step::Detach(_) if held.is_empty() => {}
                Step::Detach(at) => {
                    let (host, address) = held.swap_remove(at % held.len());
                    site.detach(host, address);
                }
                Step::Tend(host) => site.tend(host),
            }
            site.check();
            let addresses: BTreeSet<_> = held.iter().map(|(_, address)| *address).collect();
            prop_assert_eq!(addresses.len(), held.len(), "an address is held twice");
        }
    }
}

/// Pages say what they are by their keys.
#[test]
fn a_page_is_named_by_its_first_address() {
    let mut site = Site::new("10.1.0.0/16", 2);
    site.attach(0, Some([10, 1, 7, 77].into())).unwrap();
    let prefix = format!("{BLOCKS}n/");
    let pages: Vec<_> = site
        .world
        .under::<PageRecord>(&prefix)
        .map(|(first, _)| first)
        .collect();
    assert_eq!(pages, ["10.1.7.0"]);
    site.now += Duration::from_secs(1);
    site.check();
}
