//! The built-in DHCP server and those who are not its clients, asked by Kea's perfdhcp, which speaks as a relay.

use std::process::Command;
use std::time::Duration;

use agent_api::DhcpReport;

use crate::harness::{Endpoint, Host, eventually};

/// Offers and acknowledgements that a relay in `from` gets for a client with `mac`.
fn served(host: &Host, from: &Endpoint<'_>, mac: &str) -> (u32, u32) {
    let gateway = host.network("n").gateways[0].to_string();
    let base = format!("mac={mac}");
    let link = &from.detail.link;
    let mut command = Command::new("perfdhcp");
    command.args(["-4", "-r", "20", "-n", "5", "-R", "1", "-W", "500000"]);
    command.args(["-b", &base, "-l", link, &gateway]);
    let output = from.netns.run(&mut command);
    let mut received = output
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("received packets: "))
        .map(|count| count.trim().parse().unwrap());
    let offers = received
        .next()
        .unwrap_or_else(|| panic!("{}{}", output.stdout, output.stderr));
    (offers, received.next().unwrap_or(0))
}

fn report(host: &Host) -> DhcpReport {
    host.network("n").dhcp.unwrap()
}

#[test]
fn a_relay_is_served_for_endpoints() {
    let host = Host::start();
    host.tapestry(&["network", "create", "n"]).ok();
    let (relay, client) = (host.endpoint("n", "relay"), host.endpoint("n", "client"));
    assert_eq!(served(&host, &relay, &client.mac().to_string()), (5, 5));
    assert_eq!(report(&host).replies, 10);
    let asked = [
        "events",
        "--since",
        "10m",
        "--until",
        "0s",
        "-f",
        "event=lease",
    ];
    let told = host.tapestry(&asked).ok();
    assert_eq!(told.lines().count(), 1, "it was renewed four times: {told}");
    assert!(told.contains(&format!("mac={}", client.mac())), "{told}");
}

#[test]
fn a_client_that_is_no_endpoint_is_counted_and_logged() {
    let host = Host::start();
    host.tapestry(&["network", "create", "n"]).ok();
    let relay = host.endpoint("n", "relay");
    assert_eq!(served(&host, &relay, "00:0c:01:02:03:04"), (0, 0));
    assert!(report(&host).unknown >= 5, "{:?}", report(&host));
    eventually(Duration::from_secs(5), "the log names the client", || {
        let log = host.log();
        (log.contains("00:0c:01:02:03:04") && log.contains("no endpoint")).then_some(())
    });
}
