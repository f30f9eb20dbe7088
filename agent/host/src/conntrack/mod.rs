//! Forgetting connections that a change of published ports or of a container's addresses made wrong.
//!
//! # Theory of operation
//!
//! The kernel decides about redirection once per connection and remembers it as long as packets come. A client that
//! keeps sending to a port from one source port (a resolver, a VPN) would so go on reaching the host, or a container that
//! is gone, for ever. TCP connections end by themselves, but not before their packets have reached whoever has the
//! container's address next.
//!
//! Listing the connections takes the kernel a lock for each of its buckets, full or empty: some 20 ms for the 262,144 that a
//! large host has, though nothing be tracked. Deleting by address passes over the empty ones without, in a hundredth of that,
//! but only kernels since 6.11 can do it. What they take for an IPv6 address is all the others, so IPv6 is listed.

mod association;
mod message;
mod tracking;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use agent_api::TransportProtocol;
use agent_core::firewall::Published;

use self::tracking::Tracking;

/// Why wrong connections stay until their timeouts.
#[derive(Debug, thiserror::Error)]
pub enum ForgetConnections {
    #[error(
        "cannot open a socket to the kernel's connection tracking: {0}; modprobe nf_conntrack_netlink"
    )]
    Open(#[source] io::Error),
    #[error("cannot talk to the kernel's connection tracking: {0}")]
    Exchange(#[source] io::Error),
}

/// Deletes whatever began at one of these addresses or is answered by it, so that who has it next gets nothing of it. Many
/// addresses cost little more than one: give all that there are.
pub fn forget_addresses(addresses: &[IpAddr]) -> Result<(), ForgetConnections> {
    if addresses.is_empty() || tracks_nothing() {
        return Ok(());
    }
    let tracking = Tracking::open()?;
    let v4: Vec<Ipv4Addr> = addresses.iter().filter_map(v4).collect();
    let is_cheap = v4.len() == addresses.len() && v4.len() <= FEW;
    if is_cheap && tracking.delete_by_ends(&v4)? {
        return Ok(());
    }
    let deleted = tracking.delete(|connection| {
        let ends = [connection.began(), connection.answers()];
        let is_released = |end: Option<IpAddr>| end.is_some_and(|end| addresses.contains(&end));
        ends.into_iter().any(is_released)
    });
    deleted.map(drop)
}

/// Deletes the associations with a host's own address that do not go where they should by now.
///
/// `published`: the ports as they are; `withdrawn`: those that were. Returns how many were deleted.
pub fn forget_stale(
    published: &[Published],
    withdrawn: &[Published],
    own_addresses: &[IpAddr],
) -> Result<usize, ForgetConnections> {
    let is_udp = |port: &&Published| port.protocol == TransportProtocol::Udp;
    let published: Vec<&Published> = published.iter().filter(is_udp).collect();
    let withdrawn: Vec<&Published> = withdrawn.iter().filter(is_udp).collect();
    if (published.is_empty() && withdrawn.is_empty()) || tracks_nothing() {
        return Ok(0);
    }
    Tracking::open()?.delete(|connection| {
        let association = connection.association();
        association.is_some_and(|association| {
            own_addresses.contains(&association.to) && association.is_stale(&published, &withdrawn)
        })
    })
}

const fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    }
}

/// Whether there is no connection in the calling thread's namespace.
fn tracks_nothing() -> bool {
    fs::read_to_string(COUNT).is_ok_and(|count| count.trim() == "0")
}

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// For more addresses than these, listing all connections once costs less than a deletion by each.
const FEW: usize = 4;
