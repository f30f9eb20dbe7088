//! IPv6 on a link: switched on where it is off, and with an address of the link's own.

use std::fs;
use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::error::NetlinkError;

pub(super) fn has_v6(addresses: &[IpNet]) -> bool {
    addresses.iter().any(|address| address.addr().is_ipv6())
}

/// The link-local address that the kernel would make from the MAC (RFC 4291 appendix A), but without a second of
/// duplicate detection, in which the kernel cannot ask for neighbours on behalf of forwarded packets.
pub fn link_local(mac: [u8; 6]) -> IpNet {
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
pub(super) fn enable_ipv6(link: &str) -> Result<(), NetlinkError> {
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
