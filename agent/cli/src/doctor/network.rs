//! The way out, and who else uses our addresses.

use agent_core::ipam::{
    SubnetInUse, check_free, choose_subnet, default_pools_v4, dockers_pools_v4,
};
use agent_host::netlink::{Netlink, NetlinkError};
use ipnet::IpNet;

use super::check::Check;
use super::host::Host;

pub(crate) fn checks(host: &Host) -> Vec<Check> {
    let mut checks = match routes() {
        Ok(routes) => vec![uplink(&routes), pools(&routes)],
        Err(error) => vec![Check::fail("routes", error.to_string(), "run as root")],
    };
    checks.push(ipv6_forwarding(host));
    checks
}

/// A route and its link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    to: IpNet,
    link: String,
    mtu: u32,
}

fn routes() -> Result<Vec<Route>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let (links, routes) = (netlink.links()?, netlink.routes()?);
    let with_link = routes.into_iter().filter_map(|route| {
        let link = links
            .iter()
            .find(|link| Some(link.index) == route.link_index)?;
        Some(Route {
            to: route.destination,
            link: link.name.clone(),
            mtu: link.mtu,
        })
    });
    Ok(with_link.collect())
}

/// The link of the default route, and whether a container's packets fit through it.
fn uplink(routes: &[Route]) -> Check {
    let what = "uplink";
    let is_default = |route: &&Route| matches!(route.to, IpNet::V4(to) if to.prefix_len() == 0);
    let Some(Route { link, mtu, .. }) = routes.iter().find(is_default) else {
        return Check::warn(
            what,
            "no default IPv4 route, so containers reach only what this host has routes to",
            "ip route add default via GATEWAY",
        );
    };
    if *mtu < CONTAINER_MTU {
        return Check::warn(
            what,
            format!("{link} has MTU {mtu}, less than the {CONTAINER_MTU} of containers"),
            format!("tapestry network create --mtu {mtu} where packets get lost"),
        );
    }
    Check::ok(what, format!("{link}, MTU {mtu}"))
}

/// Links of others that hold addresses which networks would get.
fn pools(routes: &[Route]) -> Check {
    let what = "default pools";
    // What follows Docker's pools is for hosts with very many networks: routes there are no news.
    let pools = dockers_pools_v4();
    let in_use: Vec<IpNet> = routes
        .iter()
        .map(|route| route.to)
        .filter(|to| to.prefix_len() > 0)
        .collect();
    let Ok(next) = choose_subnet(&default_pools_v4(), &in_use) else {
        return Check::warn(
            what,
            "this host has routes into all of them",
            "tapestry network create --subnet CIDR",
        );
    };
    let of_others = routes
        .iter()
        .filter(|route| route.to.prefix_len() > 0 && !route.link.starts_with(OUR_LINKS));
    let taken: Vec<String> = of_others
        .filter(|route| pools.iter().any(|pool| overlap(pool.base, route)))
        .map(|route| format!("{} is routed to {}", route.to, route.link))
        .collect();
    if taken.is_empty() {
        return Check::ok(what, format!("free; the next network gets {next}"));
    }
    Check::warn(
        what,
        taken.join(", "),
        format!("nothing to do: the next network gets {next}, or name one with --subnet"),
    )
}

fn overlap(pool: IpNet, route: &Route) -> bool {
    let used = SubnetInUse {
        subnet: route.to,
        by: String::new(),
    };
    check_free(pool, &[used]).is_err()
}

/// Off is no warning: the agent turns it on when it is needed. IPv4's is among the firewall's findings.
fn ipv6_forwarding(host: &Host) -> Check {
    let what = "IPv6 forwarding";
    match host
        .read("proc/sys/net/ipv6/conf/all/forwarding")
        .as_deref()
    {
        Ok("1") => Check::ok(what, "on"),
        Ok(_) => Check::ok(what, "off until a network with --ipv6 is made"),
        Err(_) => Check::warn(
            what,
            "this kernel has no IPv6",
            "boot without ipv6.disable=1 if networks need it",
        ),
    }
}

const CONTAINER_MTU: u32 = 1500;
/// Host ports are called `tsy` and part of the network's id.
const OUR_LINKS: &str = "tsy";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Level;

    fn route(to: &str, link: &str, mtu: u32) -> Route {
        Route {
            to: to.parse().unwrap(),
            link: link.into(),
            mtu,
        }
    }

    #[test]
    fn pools_tell_who_overlaps_and_leave_our_links_out() {
        let routes = [
            route("0.0.0.0/0", "eth0", 1500),
            route("10.0.0.0/24", "eth0", 1500),
            route("172.17.0.0/16", "docker0", 1500),
            route("172.18.0.0/16", "tsy0123456789", 1500),
        ];
        assert_eq!(
            pools(&routes).to_string(),
            "warn  default pools: 172.17.0.0/16 is routed to docker0; \
             nothing to do: the next network gets 172.19.0.0/16, or name one with --subnet"
        );
        assert_eq!(pools(&[]).level, Level::Ok);
        let everything = [
            route("172.16.0.0/12", "a", 1500),
            route("192.168.0.0/16", "b", 1500),
            route("10.0.0.0/8", "c", 1500),
        ];
        assert!(
            pools(&everything[..2])
                .remedy
                .unwrap()
                .contains("10.0.0.0/24")
        );
        assert!(pools(&everything).found.contains("all of them"));
    }

    #[test]
    fn uplink_is_the_link_of_the_default_route() {
        let wide = route("0.0.0.0/0", "eth0", 1500);
        assert_eq!(uplink(&[wide]).found, "eth0, MTU 1500");
        let narrow = route("0.0.0.0/0", "wg0", 1420);
        assert_eq!(uplink(&[narrow]).level, Level::Warn);
        assert_eq!(uplink(&[route("::/0", "eth0", 1500)]).level, Level::Warn);
    }

    #[test]
    fn routes_of_this_host_can_be_read() {
        routes().unwrap();
    }
}
