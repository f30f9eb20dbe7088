//! Forwarding, the way out, and who else uses our addresses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::check::Check;
use super::host::Host;

pub(crate) fn checks(host: &Host) -> Vec<Check> {
    let routes = routes(&host.read("proc/net/route").unwrap_or_default());
    vec![
        ipv4_forwarding(host),
        ipv6_forwarding(host),
        uplink(host, &routes),
        pools(&routes),
    ]
}

fn ipv4_forwarding(host: &Host) -> Check {
    let what = "IPv4 forwarding";
    match host.read("proc/sys/net/ipv4/ip_forward").as_deref() {
        Ok("1") => Check::ok(what, "on"),
        _ => Check::warn(
            what,
            "off, so containers reach nothing beyond this host",
            "sysctl -w net.ipv4.ip_forward=1",
        ),
    }
}

fn ipv6_forwarding(host: &Host) -> Check {
    let what = "IPv6 forwarding";
    match host
        .read("proc/sys/net/ipv6/conf/all/forwarding")
        .as_deref()
    {
        Ok("1") => Check::ok(what, "on"),
        Ok(_) => Check::warn(
            what,
            "off, so containers on --ipv6 networks reach nothing beyond this host",
            "sysctl -w net.ipv6.conf.all.forwarding=1",
        ),
        Err(_) => Check::warn(
            what,
            "this kernel has no IPv6",
            "boot without ipv6.disable=1 if networks need it",
        ),
    }
}

/// The link of the default route, and whether a container's packets fit through it.
fn uplink(host: &Host, routes: &[Route]) -> Check {
    let what = "uplink";
    let Some(default) = routes.iter().find(|route| route.to.prefix_len() == 0) else {
        return Check::warn(
            what,
            "no default IPv4 route, so containers reach only what this host has routes to",
            "ip route add default via GATEWAY",
        );
    };
    let link = &default.link;
    let mtu = host.read(&format!("sys/class/net/{link}/mtu"));
    match mtu.ok().and_then(|mtu| mtu.parse::<u32>().ok()) {
        Some(mtu) if mtu < CONTAINER_MTU => Check::warn(
            what,
            format!("{link} has MTU {mtu}, less than the {CONTAINER_MTU} of containers"),
            format!("tapestry network create --mtu {mtu} where packets get lost"),
        ),
        Some(mtu) => Check::ok(what, format!("{link}, MTU {mtu}")),
        None => Check::ok(what, link.clone()),
    }
}

/// Links of others that hold addresses which networks would get.
fn pools(routes: &[Route]) -> Check {
    let what = "default pools";
    let taken: Vec<String> = routes
        .iter()
        .filter(|route| route.to.prefix_len() > 0 && !route.link.starts_with(OUR_LINKS))
        .filter(|route| POOLS.iter().any(|pool| overlap(*pool, route.to)))
        .map(|route| format!("{} is routed to {}", route.to, route.link))
        .collect();
    if taken.is_empty() {
        return Check::ok(what, "no route of others overlaps them");
    }
    Check::warn(
        what,
        taken.join(", "),
        "nothing to do: networks get the next free pool, or name one with --subnet",
    )
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    link: String,
    to: Ipv4Net,
}

/// Reads `/proc/net/route`: link, destination, gateway, flags, three counters, mask; addresses as the memory holds them.
fn routes(table: &str) -> Vec<Route> {
    let parsed = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let link = columns.next()?.to_owned();
        let destination = address(columns.next()?)?;
        let flags = u32::from_str_radix(columns.nth(1)?, 16).ok()?;
        let mask = address(columns.nth(3)?)?;
        if flags & ROUTE_UP == 0 || flags & ROUTE_REJECT != 0 {
            return None;
        }
        let to = Ipv4Net::with_netmask(destination, mask).ok()?;
        Some(Route { link, to })
    });
    parsed.collect()
}

fn address(hex: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(hex, 16)
        .ok()
        .map(|word| Ipv4Addr::from(word.to_ne_bytes()))
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

const CONTAINER_MTU: u32 = 1500;
/// Host ports are called `tsy` and part of the network's id.
const OUR_LINKS: &str = "tsy";
/// 172.17.0.0/16 to 172.31.0.0/16 and 192.168.0.0/16, without their gaps.
const POOLS: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::new(172, 17, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 18, 0, 0), 15),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 20, 0, 0), 14),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 24, 0, 0), 13),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];
/// RTF_UP and RTF_REJECT, linux/route.h.
const ROUTE_UP: u32 = 0x1;
const ROUTE_REJECT: u32 = 0x200;

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;
    use crate::doctor::check::Level;

    const TABLE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t000000FF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
tsy0123456789\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
";

    #[test]
    fn pools_tell_who_overlaps_and_leave_our_links_out() {
        let check = pools(&routes(TABLE));
        assert_eq!(check.level, Level::Warn);
        assert_eq!(check.found, "172.17.0.0/16 is routed to docker0");
        assert_eq!(pools(&[]).level, Level::Ok);
    }

    #[test]
    fn uplink_is_the_link_of_the_default_route() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("sys/class/net/eth0");
        std::fs::create_dir_all(&link).unwrap();
        let host = Host::under(root.path());
        std::fs::write(link.join("mtu"), "1500\n").unwrap();
        assert_eq!(uplink(&host, &routes(TABLE)).found, "eth0, MTU 1500");
        std::fs::write(link.join("mtu"), "1400\n").unwrap();
        assert_eq!(uplink(&host, &routes(TABLE)).level, Level::Warn);
        assert_eq!(uplink(&host, &[]).level, Level::Warn);
    }

    #[test]
    fn forwarding_off_is_a_warning() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::under(root.path());
        assert_eq!(ipv4_forwarding(&host).level, Level::Warn);
        let directory = root.path().join("proc/sys/net/ipv4");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("ip_forward"), "1\n").unwrap();
        assert_eq!(ipv4_forwarding(&host).level, Level::Ok);
    }
}
