//! What a request for a network comes to: the record, checked and completed, before anything is touched.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use agent_api::{Driver, NetworkCreate};
use ipnet::IpNet;
use switch_core::vlan::Tag;

use super::DEFAULT_MTU;
use super::error::CreateNetwork;
use super::options::check_options;
use super::vlan::is_aware;
use crate::ipam::{
    DefaultPool, Pool, SubnetInUse, check_free, choose_subnet, overlap, parse_subnet,
};
use crate::name::check_name;
use crate::record::{NetworkRecord, OverlayRecord, Subnet};

/// What the plan must keep clear of, and may take from.
pub struct Surroundings {
    /// Subnets of this agent's networks.
    pub networks: Vec<SubnetInUse>,
    /// Subnets that the host has an address in or a route to, by links that are not the agent's.
    pub host: Vec<SubnetEntry>,
    pub pools_v4: Vec<DefaultPool>,
    pub pools_v6: Vec<DefaultPool>,
    /// What the underlay leaves of its MTU; absent where frames stay on this host or are cut on the way.
    pub mtu_max: Option<u16>,
}

/// A subnet that the host has an address in or a route to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubnetEntry {
    pub subnet: IpNet,
    pub gateway: Option<IpAddr>,
    /// By name; absent for routes over several.
    pub link: Option<String>,
}

/// Checks everything that can be known beforehand. The caller has made sure that the name is free, and passes a new id.
pub fn plan(
    id: String,
    request: NetworkCreate,
    overlay: Option<OverlayRecord>,
    around: &Surroundings,
) -> Result<NetworkRecord, CreateNetwork> {
    check_name(&request.name)?;
    check_driver(request.driver)?;
    check_options(&request)?;
    let subnets = plan_subnets(&request, around)?;
    check_aux_addresses(&request, &subnets)?;
    let with_ipv6 = subnets.iter().any(|subnet| subnet.net.addr().is_ipv6());
    let mtu = plan_mtu(request.mtu, mtu_max(&request, around), with_ipv6)?;
    let record = NetworkRecord {
        id,
        name: request.name,
        driver: request.driver,
        subnets,
        ip_range: request.ip_range,
        aux_addresses: request.aux_addresses,
        // Without addresses nothing leads to the host.
        internal: request.internal || request.without_addresses,
        mtu,
        dns: request.dns,
        options: request.options,
        labels: request.labels,
        overlay,
    };
    // As with Docker: who names no parent wants containers among themselves.
    let is_nowhere = record.is_lan() && record.uplink().is_none();
    Ok(NetworkRecord {
        internal: record.internal || is_nowhere,
        ..record
    })
}

/// Frames in VLANs cross an underlay with their tags.
fn mtu_max(request: &NetworkCreate, around: &Surroundings) -> Option<u16> {
    let tag = u16::try_from(Tag::LEN).unwrap_or(0);
    match is_aware(&request.options) {
        true => around.mtu_max.map(|most| most.saturating_sub(tag)),
        false => around.mtu_max,
    }
}

/// Refuses a VNI that one of the networks has.
pub fn check_vni<'r>(
    mut networks: impl Iterator<Item = &'r NetworkRecord>,
    vni: u32,
) -> Result<(), CreateNetwork> {
    let has_it = |record: &&NetworkRecord| {
        let overlay = record.overlay.as_ref();
        overlay.is_some_and(|overlay| overlay.vni == vni)
    };
    match networks.find(has_it) {
        None => Ok(()),
        Some(record) => Err(CreateNetwork::VniTaken {
            vni,
            name: record.name.clone(),
        }),
    }
}

fn check_driver(driver: Driver) -> Result<(), CreateNetwork> {
    match driver {
        Driver::Bridge | Driver::Overlay | Driver::Macvlan | Driver::Ipvlan => Ok(()),
        Driver::Host => Err(CreateNetwork::PredefinedDriver("host")),
        Driver::Null => Err(CreateNetwork::PredefinedDriver("null")),
    }
}

fn plan_subnets(
    request: &NetworkCreate,
    around: &Surroundings,
) -> Result<Vec<Subnet>, CreateNetwork> {
    if request.without_addresses {
        let has_some = !request.subnets.is_empty() || !request.gateways.is_empty();
        if has_some || request.ip_range.is_some() || request.ipv6 {
            return Err(CreateNetwork::AddressesOfNone);
        }
        return Ok(Vec::new());
    }
    let v4 = one_of_family(&request.subnets, "IPv4", IpNet::V4(Default::default()))?;
    let v6 = one_of_family(&request.subnets, "IPv6", IpNet::V6(Default::default()))?;
    let host = around.host.iter().map(|entry| entry.subnet);
    let networks = around.networks.iter().map(|used| used.subnet);
    let in_use: Vec<IpNet> = host.chain(networks).collect();
    let mut nets = Vec::new();
    match v4 {
        Some(net) => nets.push(checked(net, request, around)?),
        // Whoever names an IPv6 subnet alone wants IPv6 alone; --ipv6 asks for it beside IPv4.
        None if v6.is_some() && !request.ipv6 => {}
        None => nets.push(choose_subnet(&around.pools_v4, &in_use)?),
    }
    match v6 {
        Some(net) => nets.push(checked(net, request, around)?),
        None if request.ipv6 => nets.push(choose_subnet(&around.pools_v6, &in_use)?),
        None => {}
    }
    if let Some(stray) = request
        .gateways
        .iter()
        .find(|gateway| !nets.iter().any(|net| net.contains(*gateway)))
    {
        return Err(CreateNetwork::GatewayOutside(*stray));
    }
    nets.into_iter()
        .map(|net| with_gateway(net, &request.gateways, request.ip_range))
        .collect()
}

/// Each is an address of the network, and neither the gateway's nor another one's.
fn check_aux_addresses(request: &NetworkCreate, subnets: &[Subnet]) -> Result<(), CreateNetwork> {
    let mut seen = BTreeSet::new();
    for (name, address) in &request.aux_addresses {
        let mut holding = subnets.iter().filter(|subnet| subnet.net.contains(address));
        let why = match holding.next() {
            None => "it lies in none of the network's subnets",
            Some(subnet) if subnet.gateway == *address => "it is the gateway's",
            Some(_) if !seen.insert(address) => "it was given twice",
            Some(_) => continue,
        };
        return Err(CreateNetwork::AuxAddress {
            name: name.clone(),
            address: *address,
            why,
        });
    }
    Ok(())
}

fn one_of_family(
    subnets: &[IpNet],
    family: &'static str,
    like: IpNet,
) -> Result<Option<IpNet>, CreateNetwork> {
    let mut of_family = subnets
        .iter()
        .filter(|net| net.addr().is_ipv4() == like.addr().is_ipv4());
    let first = of_family.next().copied();
    if of_family.next().is_some() {
        return Err(CreateNetwork::TwoSubnets(family));
    }
    Ok(first)
}

fn checked(
    net: IpNet,
    request: &NetworkCreate,
    around: &Surroundings,
) -> Result<IpNet, CreateNetwork> {
    let net = parse_subnet(&net.to_string())?;
    check_free(net, &around.networks)?;
    // A network without a port to the host takes no traffic from it, and a LAN is where the host is itself.
    let is_lan = matches!(request.driver, Driver::Macvlan | Driver::Ipvlan);
    if !request.internal && !request.force && !is_lan {
        check_host(net, around)?;
    }
    Ok(net)
}

/// A network that covers what the host reaches another way, or a part of it, would cut the host off there.
fn check_host(net: IpNet, around: &Surroundings) -> Result<(), CreateNetwork> {
    let mut host = around.host.iter();
    match host.find(|entry| overlap(net, entry.subnet)) {
        None => Ok(()),
        Some(entry) => Err(CreateNetwork::HostRoute {
            subnet: net,
            route: entry.to_string(),
        }),
    }
}

/// As `ip route` writes it.
impl fmt::Display for SubnetEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.subnet)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        match &self.link {
            Some(link) => write!(f, " dev {link}"),
            None => Ok(()),
        }
    }
}

fn with_gateway(
    net: IpNet,
    gateways: &[IpAddr],
    ip_range: Option<IpNet>,
) -> Result<Subnet, CreateNetwork> {
    let given = gateways
        .iter()
        .copied()
        .find(|gateway| net.contains(gateway));
    let range = ip_range.filter(|_| net.addr().is_ipv4());
    Ok(Subnet {
        net,
        gateway: Pool::new(net, given, range)?.gateway(),
    })
}

fn plan_mtu(asked: Option<u16>, most: Option<u16>, with_ipv6: bool) -> Result<u16, CreateNetwork> {
    let mtu = asked.or(most).unwrap_or(DEFAULT_MTU);
    if let Some(most) = most.filter(|most| mtu > *most) {
        return Err(CreateNetwork::MtuOverUnderlay { mtu, most });
    }
    check_mtu(mtu, with_ipv6)?;
    Ok(mtu)
}

/// Refuses an MTU that no link can have.
pub(crate) fn check_mtu(mtu: u16, with_ipv6: bool) -> Result<(), CreateNetwork> {
    // RFC 791 asks every host to take 576 bytes, RFC 8200 §5 asks every link for 1280.
    let least = if with_ipv6 { 1280 } else { 576 };
    match (least..=MTU_MAX).contains(&mtu) {
        true => Ok(()),
        false => Err(CreateNetwork::Mtu(mtu)),
    }
}

/// What a TAP takes: 65,535 bytes less the Ethernet header (drivers/net/tun.c, MAX_MTU).
pub const MTU_MAX: u16 = 65_521;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::{default_pools_v4, default_pools_v6};

    fn plan_network(
        request: NetworkCreate,
        overlay: Option<OverlayRecord>,
        around: &Surroundings,
    ) -> Result<NetworkRecord, CreateNetwork> {
        plan("e1".into(), request, overlay, around)
    }

    fn around() -> Surroundings {
        Surroundings {
            networks: vec![SubnetInUse {
                subnet: "172.17.0.0/16".parse().unwrap(),
                by: "network \"bridge\"".into(),
            }],
            host: vec![SubnetEntry {
                subnet: "172.18.0.0/16".parse().unwrap(),
                gateway: Some("192.0.2.1".parse().unwrap()),
                link: Some("eth0".into()),
            }],
            pools_v4: default_pools_v4(),
            pools_v6: default_pools_v6([1; 5]),
            mtu_max: None,
        }
    }

    fn named(name: &str) -> NetworkCreate {
        NetworkCreate {
            name: name.into(),
            ..NetworkCreate::default()
        }
    }

    #[test]
    fn a_plain_network_gets_the_first_pool_nobody_uses() {
        let record = plan_network(named("n"), None, &around()).unwrap();
        assert_eq!(
            record.subnets,
            [Subnet {
                net: "172.19.0.0/16".parse().unwrap(),
                gateway: "172.19.0.1".parse().unwrap()
            }]
        );
        assert_eq!(record.mtu, 1500);
    }

    fn with_subnets(subnets: &[&str]) -> NetworkCreate {
        NetworkCreate {
            subnets: subnets.iter().map(|net| net.parse().unwrap()).collect(),
            ..named("n")
        }
    }

    #[test]
    fn asked_for_beside_ipv4_ipv6_is_beside_it() {
        let request = NetworkCreate {
            ipv6: true,
            ..with_subnets(&["fd00:1::/64"])
        };
        let record = plan_network(request, None, &around()).unwrap();
        assert_eq!(
            record.subnet_v6().unwrap().gateway,
            "fd00:1::1".parse::<IpAddr>().unwrap()
        );
        assert!(record.subnet_v4().is_some());
    }

    #[test]
    fn an_ipv6_subnet_alone_makes_a_network_of_ipv6_alone() {
        let record = plan_network(with_subnets(&["fd00:1::/64"]), None, &around()).unwrap();
        assert!(record.subnet_v4().is_none() && record.subnet_v6().is_some());
        let other = plan_network(with_subnets(&["fd00:2::/64"]), None, &around()).unwrap();
        assert!(record.gateway_mac().is_station());
        assert_ne!(record.gateway_mac(), other.gateway_mac());
    }

    #[test]
    fn a_subnet_overlaps_no_other_network() {
        let with = |net: &str| plan_network(with_subnets(&[net]), None, &around());
        assert!(matches!(
            with("172.17.5.0/24"),
            Err(CreateNetwork::Subnet(_))
        ));
        assert!(matches!(with("10.0.0.1/24"), Err(CreateNetwork::Subnet(_))));
    }

    #[test]
    fn a_subnet_inside_or_over_a_route_of_the_host_is_refused_unless_forced() {
        for net in ["172.18.0.0/16", "172.18.5.0/24", "172.16.0.0/12"] {
            let request = NetworkCreate {
                subnets: vec![net.parse().unwrap()],
                ..named("n")
            };
            let plan = |request| {
                let nothing_else = Surroundings {
                    networks: Vec::new(),
                    ..around()
                };
                plan_network(request, None, &nothing_else)
            };
            let refused = plan(request.clone()).unwrap_err().to_string();
            assert!(
                refused.contains(net) && refused.contains("172.18.0.0/16 via 192.0.2.1 dev eth0"),
                "{refused}"
            );
            let forced = NetworkCreate {
                force: true,
                ..request.clone()
            };
            assert!(plan(forced).is_ok(), "{net}");
            let internal = NetworkCreate {
                internal: true,
                ..request
            };
            assert!(plan(internal).is_ok(), "{net}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let refused = |request: NetworkCreate| {
            plan_network(request, None, &around())
                .unwrap_err()
                .to_string()
        };
        assert!(refused(named("a b")).contains("a b"));
        assert!(
            refused(NetworkCreate {
                gateways: vec!["9.9.9.9".parse().unwrap()],
                ..named("n")
            })
            .contains("9.9.9.9")
        );
        assert!(
            refused(NetworkCreate {
                mtu: Some(100),
                ..named("n")
            })
            .contains("100")
        );
        assert!(
            refused(NetworkCreate {
                mtu: Some(1000),
                ipv6: true,
                ..named("n")
            })
            .contains("1000")
        );
        for stray in ["9.9.9.9", "172.30.0.1"] {
            let kept = NetworkCreate {
                aux_addresses: [("router".into(), stray.parse().unwrap())].into(),
                ..with_subnets(&["172.30.0.0/24"])
            };
            assert!(refused(kept).contains(&format!("router={stray}")));
        }
        let option = |name: &str, value: &str| NetworkCreate {
            options: [(name.into(), value.into())].into(),
            ..named("n")
        };
        assert!(refused(option("speed", "fast")).contains("speed"));
        assert!(refused(option("tap", "fast")).contains("offload or basic"));
        assert!(refused(option("dns.rebind", "yes")).contains("block or allow"));
        assert!(refused(option("guard", "none")).contains("strict or loose"));
        assert!(refused(option("dhcp", "on")).contains("builtin or container or off"));
        assert!(refused(option("ra", "on")).contains("block or allow"));
        for value in ["0", "-1", "many", "99999999999"] {
            assert!(refused(option("bum", value)).contains("frames a second, or off"));
        }
        assert!(refused(option("dns.record", "db")).contains("NAME=ADDRESS"));
        assert!(refused(option("fdb.ageing", "86401")).contains("up to 86400"));
        assert!(refused(option("fdb.learning", "off")).contains("true or false"));
    }

    #[test]
    fn a_network_without_addresses_has_none_of_any_kind() {
        let none = NetworkCreate {
            without_addresses: true,
            ..named("n")
        };
        let record = plan_network(none.clone(), None, &around()).unwrap();
        assert!(record.subnets.is_empty() && record.internal);
        let both = NetworkCreate { ipv6: true, ..none };
        assert!(matches!(
            plan_network(both, None, &around()),
            Err(CreateNetwork::AddressesOfNone)
        ));
    }

    #[test]
    fn the_mtu_is_what_the_underlay_leaves() {
        let narrow = Surroundings {
            mtu_max: Some(1450),
            ..around()
        };
        let plan = |mtu| {
            let request = NetworkCreate { mtu, ..named("n") };
            plan_network(request, None, &narrow).map(|record| record.mtu)
        };
        assert_eq!(plan(None).unwrap(), 1450);
        assert_eq!(plan(Some(1400)).unwrap(), 1400);
        let refused = plan(Some(1451)).unwrap_err().to_string();
        assert!(
            refused.contains("1451") && refused.contains("1450"),
            "{refused}"
        );
    }
}
