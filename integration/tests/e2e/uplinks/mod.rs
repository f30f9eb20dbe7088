//! Networks on a NIC of the host: `up0`, whose other end is the rest of the LAN.

mod bridged;
mod lan;
mod modes;

use std::collections::BTreeSet;
use std::time::Duration;

use switch_core::Mac;
use switch_io::packet::PacketSocket;

use crate::harness::{HOST_IP, HOST_IP6, Host, Netns, OUTSIDE_IP, OUTSIDE_IP6};

/// On the LAN that the host is on, with addresses that nobody else there has.
fn create(host: &Host, driver: &str, options: &[&str], name: &str) {
    let gateways = [OUTSIDE_IP.to_string(), OUTSIDE_IP6.to_string()];
    let head = [
        "network",
        "create",
        "--driver",
        driver,
        "--subnet",
        "198.51.100.0/24",
        "--ip-range",
        "198.51.100.64/26",
        "--subnet",
        "2001:db8:f::/64",
        "--gateway",
        &gateways[0],
        "--gateway",
        &gateways[1],
    ];
    host.tapestry(&[&head[..], options, &[name]].concat()).ok();
}

/// The NIC as `ip` shows it, with its addresses and the host's routes.
fn nic(host: &Host) -> String {
    host.netns.sh(
        "ip -d -o link show up0 | sed 's/ state [A-Z]*//; s/ *$//'; ip -o addr show dev up0; ip route; ip -6 route",
    )
}

fn mac(netns: &Netns, link: &str) -> Mac {
    // What /sys shows is the namespace's that mounted it.
    let text = netns.sh(&format!(
        "ip -o link show {link} | sed 's/.*ether \\([^ ]*\\).*/\\1/'"
    ));
    text.trim().parse().unwrap()
}

/// Both families, both ways, between the container and: the LAN, the host.
fn reaches_everybody(host: &Host, container: &str) {
    let (v4, v6) = (host.ipv4(container), host.ipv6(container));
    for (who, netns) in [("the LAN", &host.outside), ("the host", &host.netns)] {
        assert!(netns.pings(v4), "{who} to {container}");
        assert!(netns.pings(v6), "{who} to {container}, IPv6");
    }
    for address in [
        OUTSIDE_IP.to_string(),
        OUTSIDE_IP6.to_string(),
        HOST_IP.to_string(),
        HOST_IP6.to_string(),
    ] {
        let ping = format!("ping -n -c3 -i0.2 -W1 {address}");
        let told = host.exec(container, &ping);
        assert!(
            told.succeeded().is_some(),
            "{container} to {address}: {told:?}"
        );
    }
}

/// The sources of what has come by.
fn sources(wire: &PacketSocket) -> BTreeSet<[u8; 6]> {
    let mut sources = BTreeSet::new();
    while let Some(received) = wire.receive(Duration::from_millis(50)).unwrap() {
        sources.insert(received.frame[6..12].try_into().unwrap());
    }
    sources
}
