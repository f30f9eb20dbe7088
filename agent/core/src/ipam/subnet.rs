//! Subnets: the default pools, and what overlaps what.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range that subnets of one size are cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultPool {
    pub base: IpNet,
    /// Prefix length of the subnets cut from it.
    pub prefix_len: u8,
}

/// A subnet somebody uses already, and who, for messages: `network web`, `link eth0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetInUse {
    pub subnet: IpNet,
    pub by: String,
}

/// Why a text is no usable subnet.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubnet {
    #[error("subnet {0:?} is malformed; write it as 172.20.0.0/16 or fd00:1::/64")]
    Malformed(String),
    #[error("subnet {given} has host bits set; use {network}")]
    HostBits { given: IpNet, network: IpNet },
    #[error(
        "subnet {0} is loopback, multicast, link-local or unspecified; use a private range such as 172.20.0.0/16"
    )]
    Special(IpNet),
    #[error("subnet {subnet} overlaps {other} of {by}; choose another one")]
    Overlaps {
        subnet: IpNet,
        other: IpNet,
        by: String,
    },
}

/// Why no subnet could be chosen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "all default subnets are in use; remove unused networks, give one with --subnet, or more default-address-pools in the agent's configuration"
)]
pub struct ChooseSubnet;

/// Docker's, and when those are gone, after some thirty networks, 10.0.0.0/8 in steps of /24.
pub fn default_pools_v4() -> Vec<DefaultPool> {
    let mut pools = dockers_pools_v4();
    pools.push(DefaultPool {
        base: Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8).into(),
        prefix_len: 24,
    });
    pools
}

/// Docker's: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in steps of /20.
pub fn dockers_pools_v4() -> Vec<DefaultPool> {
    let sixteens = (17..=31).map(|second| DefaultPool {
        base: Ipv4Net::new_assert(Ipv4Addr::new(172, second, 0, 0), 16).into(),
        prefix_len: 16,
    });
    let twenties = DefaultPool {
        base: Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16).into(),
        prefix_len: 20,
    };
    sixteens.chain([twenties]).collect()
}

/// The host's own unique local /48 (RFC 4193 section 3.2), in steps of /64. `global_id` is random, once per host.
pub fn default_pools_v6(global_id: [u8; 5]) -> Vec<DefaultPool> {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&global_id);
    vec![DefaultPool {
        base: Ipv6Net::new_assert(Ipv6Addr::from(octets), 48).into(),
        prefix_len: 64,
    }]
}

/// The first subnet of the pools, in their order, that overlaps nothing in use.
pub fn choose_subnet(pools: &[DefaultPool], in_use: &[IpNet]) -> Result<IpNet, ChooseSubnet> {
    pools
        .iter()
        .find_map(|pool| first_free(pool, in_use))
        .ok_or(ChooseSubnet)
}

/// A subnet as a user wrote it.
pub fn parse_subnet(text: &str) -> Result<IpNet, InvalidSubnet> {
    let given: IpNet = text
        .trim()
        .parse()
        .map_err(|_| InvalidSubnet::Malformed(text.to_owned()))?;
    let network = given.trunc();
    if network != given {
        return Err(InvalidSubnet::HostBits { given, network });
    }
    if is_special(given) {
        return Err(InvalidSubnet::Special(given));
    }
    Ok(given)
}

/// Refuses a subnet that overlaps one in use.
pub fn check_free(subnet: IpNet, in_use: &[SubnetInUse]) -> Result<(), InvalidSubnet> {
    match in_use.iter().find(|used| overlap(subnet, used.subnet)) {
        None => Ok(()),
        Some(used) => Err(InvalidSubnet::Overlaps {
            subnet,
            other: used.subnet,
            by: used.by.clone(),
        }),
    }
}

/// Whether the two have an address in common.
pub fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn first_free(pool: &DefaultPool, in_use: &[IpNet]) -> Option<IpNet> {
    let mut candidate = IpNet::new(pool.base.network(), pool.prefix_len).ok()?;
    // Every turn leaves a subnet in use behind.
    while let Some(used) = in_use.iter().find(|used| overlap(candidate, **used)) {
        let next = after(candidate).max(after(*used))?;
        if !pool.base.contains(&next) {
            return None;
        }
        candidate = IpNet::new(next, pool.prefix_len).ok()?;
    }
    Some(candidate)
}

/// The first address behind a subnet.
fn after(subnet: IpNet) -> Option<IpAddr> {
    match subnet {
        IpNet::V4(net) => {
            let last = net.broadcast().to_bits();
            last.checked_add(1)
                .map(|next| Ipv4Addr::from_bits(next).into())
        }
        IpNet::V6(net) => {
            let last = net.broadcast().to_bits();
            last.checked_add(1)
                .map(|next| Ipv6Addr::from_bits(next).into())
        }
    }
}

fn is_special(subnet: IpNet) -> bool {
    let address = subnet.network();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    address.is_loopback() || address.is_multicast() || address.is_unspecified() || link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn choose(in_use: &[&str]) -> Result<String, ChooseSubnet> {
        choose_subnet(&default_pools_v4(), &nets(in_use)).map(|subnet| subnet.to_string())
    }

    #[test]
    fn the_first_network_gets_dockers_first_subnet() {
        assert_eq!(choose(&[]).unwrap(), "172.17.0.0/16");
    }

    #[test]
    fn subnets_in_use_are_skipped_even_where_they_only_overlap() {
        assert_eq!(
            choose(&["172.17.4.0/24", "172.18.0.0/15"]).unwrap(),
            "172.20.0.0/16"
        );
    }

    #[test]
    fn after_the_sixteens_come_steps_of_twenty() {
        assert_eq!(choose(&["172.16.0.0/12"]).unwrap(), "192.168.0.0/20");
        assert_eq!(
            choose(&["172.16.0.0/12", "192.168.0.0/24", "192.168.16.7/32"]).unwrap(),
            "192.168.32.0/20"
        );
    }

    #[test]
    fn after_the_big_ones_come_twenty_fours() {
        let big = ["172.16.0.0/12", "192.168.0.0/16"];
        assert_eq!(choose(&big).unwrap(), "10.0.0.0/24");
        let with = |more: &[&str]| choose(&[&big[..], more].concat()).unwrap();
        assert_eq!(with(&["10.0.0.0/24", "10.0.1.128/25"]), "10.0.2.0/24");
        assert_eq!(with(&["10.0.0.0/9"]), "10.128.0.0/24");
    }

    #[test]
    fn a_pool_of_very_many_subnets_is_searched_at_once() {
        let pool = DefaultPool {
            base: "fd00::/8".parse().unwrap(),
            prefix_len: 126,
        };
        assert_eq!(
            choose_subnet(&[pool], &nets(&["fd00::/8"])),
            Err(ChooseSubnet)
        );
        let upper = choose_subnet(&[pool], &nets(&["fd00::/9"])).unwrap();
        assert_eq!(upper.to_string(), "fd80::/126");
    }

    #[test]
    fn used_up_pools_are_an_error() {
        assert_eq!(
            choose(&["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"]),
            Err(ChooseSubnet)
        );
        assert_eq!(choose(&["0.0.0.0/0"]), Err(ChooseSubnet));
    }

    #[test]
    fn ipv6_subnets_are_unique_local() {
        let pools = default_pools_v6([1, 2, 3, 4, 5]);
        let first = choose_subnet(&pools, &[]).unwrap();
        assert_eq!(first.to_string(), "fd01:203:405::/64");
        let second = choose_subnet(&pools, &[first]).unwrap();
        assert_eq!(second.to_string(), "fd01:203:405:1::/64");
    }

    #[test]
    fn malformed_subnets_are_named() {
        assert_eq!(
            parse_subnet("172.20.0.0"),
            Err(InvalidSubnet::Malformed("172.20.0.0".into()))
        );
        assert_eq!(
            parse_subnet("172.20.0.1/16").unwrap_err().to_string(),
            "subnet 172.20.0.1/16 has host bits set; use 172.20.0.0/16"
        );
        for special in [
            "127.0.0.0/8",
            "224.0.0.0/24",
            "169.254.0.0/16",
            "fe80::/64",
            "0.0.0.0/0",
        ] {
            assert!(
                matches!(parse_subnet(special), Err(InvalidSubnet::Special(_))),
                "{special}"
            );
        }
    }

    #[test]
    fn an_overlap_names_who_uses_it() {
        let used = [SubnetInUse {
            subnet: "10.0.0.0/8".parse().unwrap(),
            by: "link eth0".into(),
        }];
        assert_eq!(
            check_free("10.1.0.0/16".parse().unwrap(), &used)
                .unwrap_err()
                .to_string(),
            "subnet 10.1.0.0/16 overlaps 10.0.0.0/8 of link eth0; choose another one"
        );
        assert_eq!(check_free("11.0.0.0/16".parse().unwrap(), &used), Ok(()));
    }
}
