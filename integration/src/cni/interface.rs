//! What addresses an interface has, looked at inside its namespace.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::ifaddrs::getifaddrs;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The addresses of `ifname` in the namespace that `netns` leads to.
pub(super) fn addresses(netns: &str, ifname: &str) -> io::Result<Vec<IpAddr>> {
    // The thread does not come back from there.
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let netns = File::open(netns)?;
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
            let all = getifaddrs()?.filter(|entry| entry.interface_name == ifname);
            Ok(all
                .filter_map(|entry| {
                    let address = entry.address?;
                    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
                    v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
                })
                .collect())
        });
        let panicked = |_| io::Error::other("the look into the namespace panicked");
        look.join().map_err(panicked)?
    })
}
