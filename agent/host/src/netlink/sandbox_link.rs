//! A TAP becomes a sandbox's `eth0`.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use nix::errno::Errno;

use super::address::address_request;
use super::error::{NetlinkError, Refusal};
use super::ipv6::{enable_ipv6, has_v6, link_local};
use super::link::{LinkSettings, UP, loopback_request, set_request};
use super::neighbor::{Neighbor, neighbor_request, queue_request};
use super::route::{Route, route_request};
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
    /// By which it is known wherever it is moved.
    pub alias: Option<String>,
}

/// The name inside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkName {
    /// This one, or fail.
    Exactly(String),
    /// The first free of `eth0`, `eth1`, ...
    FirstFree,
}

/// How the link ended up inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxLinkDone {
    pub name: String,
    pub index: u32,
}

/// Makes a TAP that was opened inside the sandbox its interface: name, MAC, MTU, addresses, up, default routes, and `lo`
/// up. On failure the link may keep its new name; close the TAP.
///
/// Open it so: `sandbox.run(|| open the TAP)`. The kernel needs 20 to 50 ms to move a link from another namespace.
pub fn configure_sandbox(
    sandbox: &Netns,
    wanted: &SandboxLink,
) -> Result<SandboxLinkDone, NetlinkError> {
    sandbox.run(|| {
        let mut inside = Netlink::open()?;
        let name = take_name(&mut inside, wanted)?;
        configure(&mut inside, &name, wanted)?;
        Ok(SandboxLinkDone {
            name,
            index: wanted.from_index,
        })
    })?
}

fn take_name(inside: &mut Netlink, wanted: &SandboxLink) -> Result<String, NetlinkError> {
    if let LinkName::Exactly(name) = &wanted.name {
        return match set_named(inside, wanted, name)? {
            None => Ok(name.clone()),
            Some(refusal) => Err(unnamed(inside, wanted, name, refusal)),
        };
    }
    for number in 0..LINKS_IN_A_SANDBOX {
        let name = format!("eth{number}");
        match set_named(inside, wanted, &name)? {
            None => return Ok(name),
            Some(refusal) if refusal.errno == Errno::EEXIST => {}
            Some(refusal) => return Err(unnamed(inside, wanted, &name, refusal)),
        }
    }
    Err(NetlinkError::NoFreeName {
        last: LINKS_IN_A_SANDBOX - 1,
    })
}

/// Name and settings in one request: each waits for a lock that all namespaces share.
fn set_named(
    inside: &mut Netlink,
    wanted: &SandboxLink,
    name: &str,
) -> Result<Option<Refusal>, NetlinkError> {
    let settings = LinkSettings {
        name: Some(name.to_owned()),
        ..settings(wanted)
    };
    let refused = inside.apply(vec![set_request(wanted.from_index, &settings)])?;
    Ok(refused.map(|refused| refused.refusal))
}

fn unnamed(
    inside: &mut Netlink,
    wanted: &SandboxLink,
    name: &str,
    refusal: Refusal,
) -> NetlinkError {
    let name = name.to_owned();
    if refusal.errno != Errno::EEXIST {
        return NetlinkError::Configure {
            link: name,
            refusal,
        };
    }
    let index = wanted.from_index;
    let link = inside.link_by_index(index);
    let link = link.map_or_else(|_| format!("number {index}"), |link| link.name);
    NetlinkError::Rename {
        link,
        name,
        refusal,
    }
}

fn configure(inside: &mut Netlink, name: &str, wanted: &SandboxLink) -> Result<(), NetlinkError> {
    let index = wanted.from_index;
    let mut addresses = wanted.addresses.clone();
    if has_v6(&addresses) {
        enable_ipv6(name)?;
        addresses.extend(wanted.ipv6_link_local.then(|| link_local(wanted.mac)));
    }
    let mut steps = Vec::new();
    let mut requests = Vec::new();
    let mut push = |step, request| {
        steps.push(step);
        requests.push(request);
    };
    push(Step::Loopback, loopback_request());
    // With the settings, in one request, the kernel would bring the link up first, and begin to make a link-local address.
    push(Step::Settings, set_request(index, &UP));
    for like in families(&addresses) {
        let request = queue_request(index, like, UNRESOLVED_QUEUE_BYTES);
        push(Step::Settings, request);
    }
    for &address in &addresses {
        push(Step::Address(address), address_request(index, address));
    }
    for neighbor in &wanted.neighbors {
        let request = neighbor_request(index, neighbor);
        push(Step::Neighbor(neighbor.address), request);
    }
    let gateways = wanted.gateways.iter().copied();
    let defaults = gateways.map(|gateway| Route::default_via(gateway, wanted.gateway_rank));
    for route in defaults.chain(wanted.routes.iter().cloned()) {
        let request = route_request(index, &route, &wanted.addresses);
        push(Step::Route(route), request);
    }
    inside.run(requests, |request, refusal| {
        steps.swap_remove(request).refused(name, refusal)
    })?;
    inside.await_local(index, &addresses)
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
        alias: wanted.alias.clone(),
        ..LinkSettings::default()
    }
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

const LINKS_IN_A_SANDBOX: u32 = 1024;
/// While a neighbor's MAC is asked for, packets for it wait, and the newest push out the oldest. This is some times the default
/// of `net.core.wmem_max`, which bounds what waits for one socket: so the sender waits instead.
const UNRESOLVED_QUEUE_BYTES: u32 = 1 << 20;
const IPV6: &str = "/proc/sys/net/ipv6";
