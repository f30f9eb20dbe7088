//! A TAP becomes the host's leg of a network.

use std::fs;

use ipnet::IpNet;

use super::address::address_request;
use super::error::NetlinkError;
use super::ipv6::{enable_ipv6, has_v6, link_local};
use super::link::{LinkEntry, LinkSettings, UP, set_request};
use super::socket::Netlink;

/// What a TAP shall become in the host's namespace.
#[derive(Clone, Debug)]
pub struct HostLink {
    pub name: String,
    pub mac: [u8; 6],
    pub mtu: u32,
    /// The gateway's addresses, each with its subnet's prefix length.
    pub addresses: Vec<IpNet>,
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
    // In one request the kernel would bring the link up first, and begin to make a link-local address of its own.
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
