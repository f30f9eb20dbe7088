//! Podman's subnets as the agent's, and back.

use std::net::{IpAddr, Ipv4Addr};

use agent_api::NetworkDetail;
use ipnet::{IpNet, Ipv4Net};

use crate::netavark::wire::{Failure, LeaseRange, Subnet};

/// The one prefix that the subnets' lease ranges are, as `--ip-range` writes them: podman makes first and last address of a prefix.
pub(super) fn ip_range(subnets: &[Subnet]) -> Result<Option<IpNet>, Failure> {
    let mut found = None;
    for subnet in subnets {
        let Some(range) = &subnet.lease_range else {
            continue;
        };
        let IpNet::V4(within) = subnet.subnet else {
            let message = "lease_range: addresses of an IPv6 subnet come from all of it; leave --ip-range out";
            return Err(Failure::new(message));
        };
        let prefix = prefix(range, within).ok_or_else(|| {
            let shown = |end: Option<IpAddr>| end.map_or_else(String::new, |ip| ip.to_string());
            Failure::new(format!(
                "lease_range {}-{} of {within} is no prefix; write --ip-range as a prefix within the subnet, such as {}/{}",
                shown(range.start_ip),
                shown(range.end_ip),
                within.network(),
                (within.prefix_len() + 1).min(32),
            ))
        })?;
        found = Some(IpNet::V4(prefix));
    }
    Ok(found)
}

/// The longest prefix of which they are the ends: podman counts the first address from behind the prefix, the last one up to it.
fn prefix(range: &LeaseRange, within: Ipv4Net) -> Option<Ipv4Net> {
    let v4 = |end: Option<IpAddr>, default: Ipv4Addr| match end {
        None => Some(default),
        Some(IpAddr::V4(address)) => Some(address),
        Some(IpAddr::V6(_)) => None,
    };
    let start = v4(range.start_ip, within.network())?;
    let end = v4(range.end_ip, within.broadcast())?;
    let prefixes = (within.prefix_len()..=32).rev();
    let mut prefixes = prefixes.filter_map(|len| Ipv4Net::new(start, len).ok());
    prefixes.find_map(|prefix| {
        let prefix = prefix.trunc();
        let begins = [0, 1].contains(&(u32::from(start) - u32::from(prefix.network())));
        let ends = u32::from(prefix.broadcast())
            .checked_sub(u32::from(end))
            .is_some_and(|left| left <= 1);
        (within.contains(&prefix) && begins && ends).then_some(prefix)
    })
}

/// The network's subnets with their gateways, in podman's form; a range that was asked for stays as it was written.
pub(super) fn subnets(network: &NetworkDetail, asked: &[Subnet]) -> Vec<Subnet> {
    let subnets = network.subnets.iter();
    subnets
        .map(|subnet| {
            let mut gateways = network.gateways.iter().copied();
            let mut asked = asked.iter().filter(|asked| asked.subnet == *subnet);
            Subnet {
                subnet: *subnet,
                gateway: gateways.find(|gateway| subnet.contains(gateway)),
                lease_range: asked.next().and_then(|asked| asked.lease_range.clone()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(subnet: &str, start: Option<&str>, end: Option<&str>) -> Subnet {
        let parsed = |end: Option<&str>| end.map(|ip| ip.parse().unwrap());
        Subnet {
            subnet: subnet.parse().unwrap(),
            gateway: None,
            lease_range: Some(LeaseRange {
                start_ip: parsed(start),
                end_ip: parsed(end),
            }),
        }
    }

    #[test]
    fn a_lease_range_is_the_prefix_that_podman_made_it_from() {
        for (start, end, prefix) in [
            (Some("10.1.0.129"), Some("10.1.0.255"), "10.1.0.128/25"),
            (Some("10.1.0.128"), Some("10.1.0.254"), "10.1.0.128/25"),
            (Some("10.1.0.9"), Some("10.1.0.11"), "10.1.0.8/30"),
            (Some("10.1.0.7"), Some("10.1.0.7"), "10.1.0.7/32"),
            (Some("10.1.0.128"), None, "10.1.0.128/25"),
            (None, None, "10.1.0.0/24"),
        ] {
            let range = ip_range(&[subnet("10.1.0.0/24", start, end)]).unwrap();
            assert_eq!(range, Some(prefix.parse().unwrap()), "{start:?} {end:?}");
        }
    }

    #[test]
    fn a_lease_range_that_is_no_prefix_is_refused() {
        for (within, start, end) in [
            ("10.1.0.0/24", Some("10.1.0.10"), Some("10.1.0.20")),
            ("10.1.0.0/24", Some("10.2.0.1"), Some("10.2.0.255")),
            ("10.1.0.0/24", Some("10.1.0.20"), Some("10.1.0.10")),
            ("10.1.0.0/24", Some("fd00::1"), None),
            ("fd00::/64", Some("fd00::1"), Some("fd00::ff")),
        ] {
            let refused = ip_range(&[subnet(within, start, end)]).unwrap_err();
            assert!(refused.to_string().starts_with("lease_range"), "{refused}");
        }
    }
}
