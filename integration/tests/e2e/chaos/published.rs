//! Flows to a published port, from the LAN and from the host's own loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::FULL;
use super::figures::Row;
use super::flows::{Flows, Outcome, Route};
use super::outage::Outage;
use super::scaled;
use crate::harness::{HOST_IP, Host};

#[test]
fn flows_to_published_ports_survive_kills_and_stops() {
    let host = Host::start();
    host.idle("web", "bridge", &["-p", "8080:80"]);
    let [lan, loopback] = flows_during(&host, &outages());
    let mut row = Row::new(
        5,
        format_args!("flows to published ports, {:?}", outages()),
        "20/20",
        "",
    );
    row.all("from the LAN", lan.whole, lan.count, &lan.broken);
    row.figure(format_args!(
        "{}/{} from the loopback",
        loopback.whole, loopback.count
    ));
    let survive = loopback.whole == loopback.count;
    row.hold(survive || !*FULL, format_args!("{:#?}", loopback.broken));
    row.figure(format_args!(
        "stalled {:.1?} at most",
        lan.longest_stall.max(loopback.longest_stall)
    ));
    row.finish();
}

fn outages() -> Vec<Outage> {
    [Outage::Kill, Outage::Stop].repeat(scaled(5, 1))
}

/// Ten from each side.
fn flows_during(host: &Host, outages: &[Outage]) -> [Outcome; 2] {
    let sandbox = host.sandbox("web");
    let open = |from: &Path, address: IpAddr| {
        let route = Route {
            from,
            to: &sandbox,
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80)),
            connect: SocketAddr::from((address, 8080)),
        };
        Flows::open(route, 10)
    };
    let lan = open(&host.outside.path(), HOST_IP.into());
    let loopback = open(&host.netns.path(), Ipv4Addr::LOCALHOST.into());
    for outage in outages {
        outage.strike(host);
        // Time for a reset to come, if one does: the flows speak every few milliseconds.
        std::thread::sleep(SETTLE);
    }
    [lan, loopback].map(Flows::end)
}

const SETTLE: Duration = Duration::from_millis(500);
