//! The two compositions the agent needs: a TAP becomes a sandbox's `eth0`, and a TAP becomes the host's leg of a network.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;

use super::error::{NetlinkError, Refusal};
use super::link::{LinkEntry, LinkSettings};
use super::request::{
    address_request, loopback_request, neighbor_request, queue_request, route_request, set_request,
};
use super::socket::Netlink;
use crate::namespace::Netns;

/// What a TAP shall become inside a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxLink {
    /// The link as it is now, inside.
    pub from_index: u32,
    pub name: LinkName,
    pub mac: [u8; 6],
    /// Bytes of the network layer packet.
    pub mtu: u32,
    /// Packets; the kernel's 1000 where absent.
    pub tx_queue_length: Option<u32>,
    /// Own addresses, each with its subnet's prefix length.
    pub addresses: Vec<IpNet>,
    /// One default route each. A gateway outside the subnets is reached onlink.
    pub gateways: Vec<IpAddr>,
    /// Of the default routes among those of the sandbox: the lowest is used, the others wait for its link to go.
    pub gateway_rank: u32,
    /// Whose MAC nobody has to ask for.
    pub neighbors: Vec<Neighbor>,
    /// More routes.
    pub routes: Vec<Route>,
    /// Whether the link has a link-local IPv6 address, and so speaks ND even on an IPv4 network.
    pub ipv6_link_local: bool,
}

/// The name inside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkName {
    /// This one, or fail.
    Exactly(String),
    /// The first free of `eth0`, `eth1`, ...
    FirstFree,
}

/// A route through a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: IpNet,
    /// Directly on the link where absent.
    pub gateway: Option<IpAddr>,
    /// The kernel's default where zero.
    pub metric: u32,
}

/// A station on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    pub address: IpAddr,
    pub mac: [u8; 6],
}

/// How the link ended up inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxLinkDone {
    pub name: String,
    pub index: u32,
}

/// What a TAP shall become in the host's namespace.
#[derive(Clone, Debug)]
pub struct HostLink {
    pub name: String,
    pub mac: [u8; 6],
    pub mtu: u32,
    /// The gateway's addresses, each with its subnet's prefix length.
    pub addresses: Vec<IpNet>,
}

impl Route {
    /// The default route of the gateway's family, after `rank` others.
    pub fn default_via(gateway: IpAddr, rank: u32) -> Self {
        let (destination, metric) = match gateway {
            IpAddr::V4(_) => (Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(), rank),
            // The kernel takes its default for a metric of zero, so the first route has that and the others come after.
            IpAddr::V6(_) => (
                Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
                IPV6_METRIC.saturating_add(rank),
            ),
        };
        Self {
            destination,
            gateway: Some(gateway),
            metric,
        }
    }
}

/// Makes a TAP that was opened inside the sandbox its interface: name, MAC, MTU, addresses, up, default routes, and `lo`
/// up. On failure the link may keep its new name; close the TAP.
///
/// Open it so: `sandbox.run(|| open the TAP)`. The kernel needs 20 to 50 ms to move a link from another namespace.
pub fn configure_sandbox(
    sandbox: &Netns,
    wanted: &SandboxLink,
) -> Result<SandboxLinkDone, NetlinkError> {
    let done = sandbox.run(|| {
        let mut inside = Netlink::open()?;
        let mut link = inside.link_by_index(wanted.from_index)?;
        link.name = rename(&mut inside, &link, &wanted.name)?;
        configure(&mut inside, &link, wanted)?;
        Ok(SandboxLinkDone {
            name: link.name,
            index: link.index,
        })
    });
    done.flatten()
}

/// Gives the host's leg its MAC, MTU and gateway addresses and brings it up. Repeating it changes nothing.
pub fn configure_host_link(
    netlink: &mut Netlink,
    wanted: &HostLink,
) -> Result<LinkEntry, NetlinkError> {
    let link = netlink.link_by_name(&wanted.name)?;
    // Router advertisements on this link could only come from containers.
    let accept_ra = format!("/proc/sys/net/ipv6/conf/{}/accept_ra", wanted.name);
    let _ = fs::write(accept_ra, "0");
    // As with IPv6, the host answers for the link's addresses alone: on a patched network another link has the others.
    let arp_ignore = format!("/proc/sys/net/ipv4/conf/{}/arp_ignore", wanted.name);
    let _ = fs::write(arp_ignore, "1");
    let mut addresses = wanted.addresses.clone();
    let wants_v6 = has_v6(&addresses);
    if wants_v6 {
        enable_ipv6(&wanted.name)?;
        addresses.push(link_local(wanted.mac));
    } else {
        // The kernel would make a link-local address, at which containers reach what the host serves over IPv6. Where there
        // is no IPv6 there is nothing to switch off.
        let disable = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", wanted.name);
        let _ = fs::write(disable, "1");
    }
    let settings = LinkSettings {
        mac: (link.mac != Some(wanted.mac)).then_some(wanted.mac),
        mtu: Some(wanted.mtu),
        ipv6_link_local: wants_v6.then_some(false),
        ..LinkSettings::default()
    };
    // Two requests, for the reason given in `configure`.
    let mut requests = vec![
        set_request(link.index, &settings),
        set_request(link.index, &UP),
    ];
    requests.extend(
        addresses
            .iter()
            .map(|address| address_request(link.index, *address)),
    );
    netlink.run(requests, |request, refusal| {
        let link = wanted.name.clone();
        match request.checked_sub(2).and_then(|at| addresses.get(at)) {
            Some(&address) => NetlinkError::AddAddress {
                link,
                address,
                refusal,
            },
            None => NetlinkError::Configure { link, refusal },
        }
    })?;
    netlink.await_local(link.index, &addresses)?;
    netlink.link_by_index(link.index)
}

fn rename(inside: &mut Netlink, link: &LinkEntry, name: &LinkName) -> Result<String, NetlinkError> {
    if let LinkName::Exactly(name) = name {
        if *name != link.name {
            inside.rename_link(link, name)?;
        }
        return Ok(name.clone());
    }
    for number in 0..LINKS_IN_A_SANDBOX {
        let name = format!("eth{number}");
        if name == link.name {
            return Ok(name);
        }
        match inside.rename_link(link, &name) {
            Ok(()) => return Ok(name),
            Err(error) if error.errno() == Some(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(NetlinkError::NoFreeName {
        last: LINKS_IN_A_SANDBOX - 1,
    })
}

fn configure(
    inside: &mut Netlink,
    link: &LinkEntry,
    wanted: &SandboxLink,
) -> Result<(), NetlinkError> {
    let mut addresses = wanted.addresses.clone();
    if has_v6(&addresses) {
        enable_ipv6(&link.name)?;
        addresses.extend(wanted.ipv6_link_local.then(|| link_local(wanted.mac)));
    }
    let mut steps = Vec::new();
    let mut requests = Vec::new();
    let mut push = |step, request| {
        steps.push(step);
        requests.push(request);
    };
    push(Step::Loopback, loopback_request());
    // In one request the kernel would bring the link up first, and begin to make a link-local address of its own.
    push(Step::Settings, set_request(link.index, &settings(wanted)));
    push(Step::Settings, set_request(link.index, &UP));
    for like in families(&addresses) {
        let request = queue_request(link.index, like, UNRESOLVED_QUEUE_BYTES);
        push(Step::Settings, request);
    }
    for &address in &addresses {
        push(Step::Address(address), address_request(link.index, address));
    }
    for neighbor in &wanted.neighbors {
        let request = neighbor_request(link.index, neighbor);
        push(Step::Neighbor(neighbor.address), request);
    }
    let gateways = wanted.gateways.iter().copied();
    let defaults = gateways.map(|gateway| Route::default_via(gateway, wanted.gateway_rank));
    for route in defaults.chain(wanted.routes.iter().cloned()) {
        let request = route_request(link.index, &route, &wanted.addresses);
        push(Step::Route(route), request);
    }
    inside.run(requests, |request, refusal| {
        steps.swap_remove(request).refused(&link.name, refusal)
    })?;
    inside.await_local(link.index, &addresses)
}

/// An address of each family that there is.
fn families(addresses: &[IpNet]) -> impl Iterator<Item = IpAddr> {
    let of = |v4: bool| {
        let mut addresses = addresses.iter().map(IpNet::addr);
        addresses.find(move |address| address.is_ipv4() == v4)
    };
    [of(true), of(false)].into_iter().flatten()
}

fn settings(wanted: &SandboxLink) -> LinkSettings {
    let kernel_makes_it = wanted.ipv6_link_local && !has_v6(&wanted.addresses);
    LinkSettings {
        mac: Some(wanted.mac),
        mtu: Some(wanted.mtu),
        tx_queue_length: wanted.tx_queue_length,
        // Only said where it differs from the kernel's default, for kernels without IPv6.
        ipv6_link_local: (!kernel_makes_it && Path::new(IPV6).exists()).then_some(false),
        up: None,
    }
}

fn has_v6(addresses: &[IpNet]) -> bool {
    addresses.iter().any(|address| address.addr().is_ipv6())
}

/// The link-local address that the kernel would make from the MAC (RFC 4291 appendix A), but without a second of
/// duplicate detection, in which the kernel cannot ask for neighbours on behalf of forwarded packets.
fn link_local(mac: [u8; 6]) -> IpNet {
    let [a, b, c, d, e, f] = mac;
    let octets = [
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ];
    Ipv6Net::new_assert(Ipv6Addr::from(octets), 64).into()
}

/// Container engines disable IPv6 in the sandboxes they make; netlink has no word for it.
fn enable_ipv6(link: &str) -> Result<(), NetlinkError> {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    let failed = |source| NetlinkError::Sysctl {
        path: path.clone(),
        source,
    };
    if fs::read_to_string(&path).map_err(failed)?.trim() == "0" {
        return Ok(());
    }
    fs::write(&path, "0").map_err(failed)
}

/// A request of the group that configures a sandbox, kept to name its failure.
enum Step {
    Loopback,
    Settings,
    Address(IpNet),
    Neighbor(IpAddr),
    Route(Route),
}

impl Step {
    fn refused(self, link: &str, refusal: Refusal) -> NetlinkError {
        let link = link.to_owned();
        match self {
            Self::Loopback => NetlinkError::Up {
                link: "lo".into(),
                refusal,
            },
            Self::Settings => NetlinkError::Configure { link, refusal },
            Self::Address(address) => NetlinkError::AddAddress {
                link,
                address,
                refusal,
            },
            Self::Neighbor(address) => NetlinkError::AddNeighbor {
                link,
                address,
                refusal,
            },
            Self::Route(route) => NetlinkError::AddRoute {
                link,
                destination: route.destination,
                gateway: route.gateway,
                refusal,
            },
        }
    }
}

const UP: LinkSettings = LinkSettings {
    mac: None,
    mtu: None,
    tx_queue_length: None,
    ipv6_link_local: None,
    up: Some(true),
};
const LINKS_IN_A_SANDBOX: u32 = 1024;
/// `IP6_RT_PRIO_USER` of linux/ipv6_route.h.
const IPV6_METRIC: u32 = 1024;
/// While a neighbor's MAC is asked for, packets for it wait, and the newest push out the oldest. This is some times the default
/// of `net.core.wmem_max`, which bounds what waits for one socket: so the sender waits instead.
const UNRESOLVED_QUEUE_BYTES: u32 = 1 << 20;
const IPV6: &str = "/proc/sys/net/ipv6";
