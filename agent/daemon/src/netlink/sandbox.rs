//! The two compositions the agent needs: a TAP becomes a sandbox's `eth0`, and a TAP becomes the host's leg of a network.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;

use super::error::{NetlinkError, Refusal};
use super::link::{
    LinkEntry, LinkSettings, address_request, loopback_request, route_request, set_request,
};
use super::namespace::Netns;
use super::socket::Netlink;

/// What a TAP shall become inside a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxLink {
    /// The link as it is now, in the namespace of the [`Netlink`] given.
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
    /// More routes.
    pub routes: Vec<Route>,
    /// Whether the kernel may make a link-local IPv6 address (and speak ND) of its own.
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
    /// The default route of the gateway's family.
    pub fn default_via(gateway: IpAddr) -> Self {
        let destination = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
        };
        Self {
            destination,
            gateway: Some(gateway),
        }
    }
}

/// Moves a TAP into a sandbox and makes it its interface: name, MAC, MTU, addresses, up, default routes, and `lo` up.
///
/// On failure the TAP is back where it was, under its old name and down.
pub fn configure_sandbox(
    host: &mut Netlink,
    sandbox: &Netns,
    wanted: &SandboxLink,
) -> Result<SandboxLinkDone, NetlinkError> {
    let before = host.link_by_index(wanted.from_index)?;
    let home = Netns::current()?;
    let name = move_in(host, sandbox, &before, &wanted.name)?;
    let done = sandbox.run(|| {
        let mut inside = Netlink::open()?;
        let link = inside.link_by_name(&name)?;
        match configure(&mut inside, &link, wanted) {
            Ok(()) => Ok(SandboxLinkDone {
                name: link.name,
                index: link.index,
            }),
            Err(failure) => {
                move_back(&mut inside, &link, &home, &before);
                Err(failure)
            }
        }
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
    let settings = LinkSettings {
        mac: (link.mac != Some(wanted.mac)).then_some(wanted.mac),
        mtu: Some(wanted.mtu),
        up: Some(true),
        ..LinkSettings::default()
    };
    let wants_v6 = wanted
        .addresses
        .iter()
        .any(|address| address.addr().is_ipv6());
    if wants_v6 {
        enable_ipv6(&wanted.name)?;
    }
    let mut requests = vec![set_request(link.index, &settings)];
    let addresses = wanted.addresses.iter();
    requests.extend(addresses.map(|address| address_request(link.index, *address)));
    netlink.run(requests, |request, refusal| {
        let name = wanted.name.clone();
        match request
            .checked_sub(1)
            .and_then(|at| wanted.addresses.get(at))
        {
            Some(&address) => NetlinkError::AddAddress {
                link: name,
                address,
                refusal,
            },
            None => NetlinkError::Configure {
                link: name,
                refusal,
            },
        }
    })?;
    netlink.link_by_index(link.index)
}

fn move_in(
    host: &mut Netlink,
    sandbox: &Netns,
    link: &LinkEntry,
    name: &LinkName,
) -> Result<String, NetlinkError> {
    if let LinkName::Exactly(name) = name {
        host.move_link(link, sandbox, name)?;
        return Ok(name.clone());
    }
    for number in 0..LINKS_IN_A_SANDBOX {
        let name = format!("eth{number}");
        match host.move_link(link, sandbox, &name) {
            Ok(()) => return Ok(name),
            Err(error) if error.errno() == Some(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(NetlinkError::NoFreeName {
        last: LINKS_IN_A_SANDBOX - 1,
    })
}

/// Runs inside the sandbox's namespace.
fn configure(
    inside: &mut Netlink,
    link: &LinkEntry,
    wanted: &SandboxLink,
) -> Result<(), NetlinkError> {
    if wanted
        .addresses
        .iter()
        .any(|address| address.addr().is_ipv6())
    {
        enable_ipv6(&link.name)?;
    }
    let mut steps = Vec::new();
    let mut requests = Vec::new();
    let mut push = |step, request| {
        steps.push(step);
        requests.push(request);
    };
    push(Step::Loopback, loopback_request());
    push(Step::Settings, set_request(link.index, &settings(wanted)));
    for address in &wanted.addresses {
        push(
            Step::Address(*address),
            address_request(link.index, *address),
        );
    }
    let defaults = wanted.gateways.iter().copied().map(Route::default_via);
    for route in defaults.chain(wanted.routes.iter().cloned()) {
        let request = route_request(link.index, &route, &wanted.addresses);
        push(Step::Route(route), request);
    }
    inside.run(requests, |request, refusal| {
        steps.swap_remove(request).refused(&link.name, refusal)
    })
}

fn settings(wanted: &SandboxLink) -> LinkSettings {
    LinkSettings {
        mac: Some(wanted.mac),
        mtu: Some(wanted.mtu),
        tx_queue_length: wanted.tx_queue_length,
        // Only said where it differs from the kernel's default, for kernels without IPv6.
        ipv6_link_local: (!wanted.ipv6_link_local).then_some(false),
        up: Some(true),
    }
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

fn move_back(inside: &mut Netlink, link: &LinkEntry, home: &Netns, before: &LinkEntry) {
    if let Err(error) = inside.move_link(link, home, &before.name) {
        tracing::warn!(link = link.name, %error, "cannot take a link back out of a sandbox");
    }
}

/// A request of the group that configures a sandbox, kept to name its failure.
enum Step {
    Loopback,
    Settings,
    Address(IpNet),
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
