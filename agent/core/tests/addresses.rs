//! Endpoints that come and go on one network, and hosts elsewhere with blocks of their own: nobody ever has what is another's.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may read clocks and settings"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use agent_api::{EndpointSettings, NetworkCreate};
use agent_core::endpoint::{self, Attach, Attachment, Fresh, Place};
use agent_core::ipam::block::around;
use agent_core::ipam::{Pools, Tenant};
use agent_core::network::{self, Surroundings};
use agent_core::record::{EndpointRecord, NetworkRecord, Owner};
use ipnet::IpNet;
use proptest::prelude::*;
use switch_core::Mac;

#[derive(Clone, Debug)]
enum Step {
    /// With these host parts as wishes.
    Attach(Option<u8>, Option<u8>),
    Detach(usize),
    /// Another host's endpoint has that host part.
    Mark(u8, bool),
    Unmark(u8, bool),
    /// The blocks around these host parts are this host's, of so many bits.
    Own(Vec<u8>, u8),
    /// All that rest have rested long enough.
    Wake,
    /// All pools anew, from the records.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let host = 0..16u8;
    let wish = || prop::option::weighted(0.3, 0..16u8);
    prop_oneof![
        4 => (wish(), wish()).prop_map(|(v4, v6)| Step::Attach(v4, v6)),
        3 => any::<usize>().prop_map(Step::Detach),
        2 => (host.clone(), any::<bool>()).prop_map(|(at, v4)| Step::Mark(at, v4)),
        2 => (host.clone(), any::<bool>()).prop_map(|(at, v4)| Step::Unmark(at, v4)),
        2 => (prop::collection::vec(host, 0..4), 0..3u8).prop_map(|(at, bits)| Step::Own(at, bits)),
        1 => Just(Step::Wake),
        1 => Just(Step::Restart),
    ]
}

/// The address of a host part: of 10.1.0.0/28, or of fd01::/124.
fn address(host: u8, v4: bool) -> IpAddr {
    match v4 {
        true => Ipv4Addr::new(10, 1, 0, host).into(),
        false => Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

struct Site {
    network: NetworkRecord,
    pools: Pools,
    endpoints: Vec<EndpointRecord>,
    marks: BTreeMap<IpAddr, Tenant>,
    owned: Vec<IpNet>,
    now: Instant,
    made: u32,
}

impl Site {
    fn new() -> Self {
        let request = NetworkCreate {
            name: "n".into(),
            subnets: ["10.1.0.0/28", "fd01::/124"]
                .map(|net| net.parse().unwrap())
                .into(),
            ipv6: true,
            ..NetworkCreate::default()
        };
        let around = Surroundings {
            networks: Vec::new(),
            host: Vec::new(),
            pools_v4: Vec::new(),
            pools_v6: Vec::new(),
            mtu_max: None,
        };
        let network = network::plan("n".into(), request, None, &around).unwrap();
        let mut pools = Pools::of(&network).unwrap();
        pools.own(&[]);
        Self {
            pools,
            network,
            owned: Vec::new(),
            now: Instant::now(),
            endpoints: Vec::new(),
            marks: BTreeMap::new(),
            made: 0,
        }
    }

    fn attach(&mut self, wishes: (Option<u8>, Option<u8>)) {
        self.made += 1;
        let name = format!("e{}", self.made);
        let owner = Owner::Container(name.clone());
        let wish = |host: Option<u8>, v4| host.map(|host| address(host, v4));
        let settings = EndpointSettings {
            ip: wish(wishes.0, true).and_then(|ip| ip.to_string().parse().ok()),
            ip6: wish(wishes.1, false).and_then(|ip| ip.to_string().parse().ok()),
            ..EndpointSettings::default()
        };
        let attachment = Attachment {
            owner: owner.clone(),
            path: None,
            name: &name,
            hostname: None,
            dns: &[],
            publish: &[],
            ports_reserved: false,
            link: None,
            settings: &settings,
        };
        let (place, fresh) = (Place::of(&[], &owner), self.fresh(&name));
        let (network, pools) = (&self.network, &mut self.pools);
        let others = self.endpoints.iter();
        let planned: Result<_, Attach> =
            endpoint::plan(network, pools, others, &attachment, place, fresh);
        let Ok(record) = planned else { return };
        for address in record.addresses() {
            let is_own = self.owned.iter().any(|block| block.contains(&address));
            assert!(is_own, "{address} is another's");
            assert!(!self.marks.contains_key(&address), "{address} was given");
        }
        self.endpoints.push(record);
    }

    fn fresh(&self, name: &str) -> Fresh {
        Fresh {
            id: name.to_owned(),
            mac: Mac::from_ipv4(Ipv4Addr::from_bits(self.made)),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Attach(v4, v6) => self.attach((v4, v6)),
            Step::Detach(_) if self.endpoints.is_empty() => {}
            Step::Detach(at) => {
                let gone = self.endpoints.swap_remove(at % self.endpoints.len());
                self.pools.retire(&gone, self.now + REST);
            }
            Step::Mark(host, v4) => {
                let address = address(host, v4);
                self.pools.mark(address, elsewhere());
                // An address that is no host's cannot be marked.
                if self.pools.tenant(address).is_some() {
                    self.marks.insert(address, elsewhere());
                }
            }
            Step::Unmark(host, v4) => {
                self.pools.unmark(address(host, v4), &elsewhere());
                self.marks.remove(&address(host, v4));
            }
            Step::Own(at, bits) => {
                let both = at
                    .iter()
                    .flat_map(|at| [address(*at, true), address(*at, false)]);
                let subnets = &self.network.subnets;
                let block = |at: IpAddr| {
                    let mut subnets = subnets.iter().map(|subnet| subnet.net);
                    around(subnets.find(|net| net.contains(&at)).unwrap(), at, bits)
                };
                self.owned = both
                    .map(block)
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect();
                self.pools.own(&self.owned);
            }
            Step::Wake => {
                self.now += REST;
                self.pools.wake(self.now);
            }
            Step::Restart => {
                self.pools = Pools::of(&self.network).unwrap();
                self.pools.own(&self.owned);
                for endpoint in &self.endpoints {
                    self.pools.take_back(endpoint).unwrap();
                }
                for (address, tenant) in &self.marks {
                    self.pools.mark(*address, tenant.clone());
                }
            }
        }
    }

    /// The pools know every tenant, and no other.
    fn check(&self) {
        let mut expected = self.marks.clone();
        for subnet in &self.network.subnets {
            expected.insert(subnet.gateway, Tenant::Gateway);
        }
        let mut held = BTreeSet::new();
        for endpoint in &self.endpoints {
            for address in endpoint.addresses() {
                assert!(held.insert(address), "{address} has two tenants");
                expected.insert(address, Tenant::Endpoint(endpoint.name.clone()));
            }
        }
        let hosts = (0..16).flat_map(|host| [address(host, true), address(host, false)]);
        let known =
            hosts.filter_map(|address| Some((address, self.pools.tenant(address)?.clone())));
        assert_eq!(known.collect::<BTreeMap<_, _>>(), expected);
    }
}

fn elsewhere() -> Tenant {
    Tenant::Elsewhere {
        endpoint: "e".to_owned(),
        host: "h".to_owned(),
    }
}

const REST: Duration = Duration::from_secs(60);

proptest! {
    #[test]
    fn every_address_has_one_tenant_whatever_fails(steps in prop::collection::vec(step(), 0..80)) {
        let mut site = Site::new();
        for step in steps {
            site.take(step);
            site.check();
        }
    }
}
