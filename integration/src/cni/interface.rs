//! What an interface has, looked at inside its namespace.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use ipnet::IpNet;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::translate::Present;

/// The interface `ifname` in the namespace that `netns` leads to.
pub(super) fn look(netns: &str, ifname: &str) -> io::Result<Present> {
    // The thread does not come back from there.
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let netns = File::open(netns)?;
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
            present(ifname)
        });
        let panicked = |_| io::Error::other("the look into the namespace panicked");
        look.join().map_err(panicked)?
    })
}

fn present(ifname: &str) -> io::Result<Present> {
    let all: Vec<_> = getifaddrs()?
        .filter(|entry| entry.interface_name == ifname)
        .collect();
    let mut routes = routes_v4(&fs::read_to_string(ROUTES_V4)?, ifname);
    // Absent on a kernel without IPv6.
    if let Ok(text) = fs::read_to_string(ROUTES_V6) {
        routes.extend(routes_v6(&text, ifname));
    }
    Ok(Present {
        mac: all.iter().find_map(mac),
        addresses: all.iter().filter_map(address).collect(),
        routes,
    })
}

fn mac(entry: &InterfaceAddress) -> Option<String> {
    let octets = entry.address.as_ref()?.as_link_addr()?.addr()?;
    let octets = octets.map(|octet| format!("{octet:02x}"));
    Some(octets.join(":"))
}

fn address(entry: &InterfaceAddress) -> Option<IpNet> {
    let ip = |storage: &nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| v6.ip().into()))
    };
    let mask = ip(entry.netmask.as_ref()?)?;
    IpNet::with_netmask(ip(entry.address.as_ref()?)?, mask).ok()
}

/// Of proc(5), `/proc/net/route`: interface, destination, gateway, .., mask, addresses as they lie in memory.
fn routes_v4(text: &str, ifname: &str) -> Vec<(IpNet, IpAddr)> {
    let route = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let ip = |at: usize| {
            let number = u32::from_str_radix(fields.get(at)?, 16).ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(number.to_ne_bytes())))
        };
        let gateway = ip(2).filter(|gateway| !gateway.is_unspecified())?;
        let destination = IpNet::with_netmask(ip(1)?, ip(7)?).ok()?;
        (*fields.first()? == ifname).then_some((destination, gateway))
    };
    text.lines().filter_map(route).collect()
}

/// `/proc/net/ipv6_route`: destination, prefix length, source, its prefix length, gateway, .., interface.
fn routes_v6(text: &str, ifname: &str) -> Vec<(IpNet, IpAddr)> {
    let route = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let ip = |at: usize| {
            let number = u128::from_str_radix(fields.get(at)?, 16).ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(number)))
        };
        let gateway = ip(4).filter(|gateway| !gateway.is_unspecified())?;
        let prefix = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        let destination = IpNet::new(ip(0)?, prefix).ok()?;
        (*fields.last()? == ifname).then_some((destination, gateway))
    };
    text.lines().filter_map(route).collect()
}

const ROUTES_V4: &str = "/proc/thread-self/net/route";
const ROUTES_V6: &str = "/proc/thread-self/net/ipv6_route";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_with_a_gateway_are_read() {
        let v4 = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t{:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t{:08X}\t00000000\t0001\t0\t0\t0\t{:08X}\t0\t0\t0\n\
             eth1\t00000000\t{:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
            u32::from_ne_bytes([10, 63, 0, 1]),
            u32::from_ne_bytes([10, 63, 0, 0]),
            u32::from_ne_bytes([255, 255, 255, 0]),
            u32::from_ne_bytes([10, 64, 0, 1]),
        );
        let default = ("0.0.0.0/0".parse().unwrap(), [10, 63, 0, 1].into());
        assert_eq!(routes_v4(&v4, "eth0"), [default]);
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fd630000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
             fd630000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n"
        );
        let default = ("::/0".parse().unwrap(), "fd63::1".parse().unwrap());
        assert_eq!(routes_v6(&v6, "eth0"), [default]);
        assert!(routes_v6(&v6, "eth1").is_empty());
    }
}
