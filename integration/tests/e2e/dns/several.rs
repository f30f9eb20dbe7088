//! Containers on several networks, and networks called like public domains.

use super::name_server::{NAME_SERVER, NameServer};
use super::{Lab, dig, has};
use crate::harness::Host;

#[test]
fn names_under_a_public_domain_stay_on_the_host_while_they_are_containers() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let server = NAME_SERVER.to_string();
    let lab = Lab::new(&host, &["--dns", &server]);
    host.tapestry(&["network", "create", "--dns", &server, "dev"])
        .ok();
    host.idle("web", "dev", &["--network-alias", "www", "-p", "18080:80"]);
    host.idle("peer", "dev", &[]);
    let gateway = host.network("dev").gateways[0];
    let address = host.ipv4("web").to_string();
    for question in ["web.dev A", "WWW.dev A"] {
        let shown = dig(&host, "peer", gateway, question).ok();
        has(&shown, &format!("NOERROR|aa rd ra|{address}"));
    }
    for question in [
        "web.dev A",
        "Web.Dev AAAA",
        "www.dev TXT",
        "x.web.dev A",
        "_http._tcp.web.dev SRV",
    ] {
        has(&lab.dig(&host, question), "NXDOMAIN|AUTHORITY: 1");
    }
    let asked = NameServer::queries(&host);
    assert!(!asked.contains(".dev."), "{asked}");
    // The rest of the domain is the world's, on both networks, and a name is too when its container is gone.
    lab.dig(&host, "world.dev A");
    dig(&host, "peer", gateway, "sibling.dev A").ok();
    host.tapestry(&["rm", "-f", "web"]).ok();
    lab.dig(&host, "web.dev A");
    has(
        &NameServer::queries(&host),
        "world.dev.|sibling.dev.|web.dev.",
    );
}

#[test]
fn an_internal_network_forwards_for_containers_that_have_another_way_out() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let lab = Lab::new(&host, &["--internal"]);
    host.tapestry(&["network", "create", "--internal", "vault"])
        .ok();
    host.tapestry(&[
        "network",
        "create",
        "--dns",
        &NAME_SERVER.to_string(),
        "out",
    ])
    .ok();
    host.idle("inner", "lab", &[]);
    let refused = |container: &str| {
        let shown = dig(&host, container, lab.gateway, "www.test A").ok();
        has(&shown, "NXDOMAIN");
    };
    refused("client");
    // One more internal network is no way out.
    host.tapestry(&["network", "connect", "vault", "client"])
        .ok();
    refused("client");
    host.tapestry(&["network", "connect", "out", "client"]).ok();
    for _ in 0..2 {
        // The second answer comes from memory.
        has(&lab.dig(&host, "www.test A"), "NOERROR|203.0.113.1");
    }
    has(&lab.dig(&host, "inner A"), "NOERROR|aa rd ra");
    refused("inner");
    host.stop_agent(rustix::process::Signal::TERM);
    host.launch();
    has(&lab.dig(&host, "text.test TXT"), "hello world");
    host.tapestry(&["network", "disconnect", "out", "client"])
        .ok();
    refused("client");
    // What the container itself chose goes before the network's.
    host.idle("own", "lab", &["--dns", &NAME_SERVER.to_string()]);
    refused("own");
    host.tapestry(&["network", "connect", "bridge", "own"]).ok();
    has(
        &dig(&host, "own", lab.gateway, "www.test A").ok(),
        "203.0.113.1",
    );
}

#[test]
fn containers_of_two_networks_meet_on_a_third() {
    let host = Host::start();
    let a = Lab::new(&host, &[]);
    for options in [&["b", "--ipv6"][..], &["c"]] {
        host.tapestry(&[&["network", "create"], &options[1..], &options[..1]].concat())
            .ok();
    }
    host.idle("aone", "lab", &[]);
    host.idle("cone", "c", &[]);
    host.idle("shared", "lab", &[]);
    host.tapestry(&["network", "connect", "--alias", "aone-nw", "b", "aone"])
        .ok();
    host.tapestry(&["network", "connect", "--alias", "cone-nw", "b", "cone"])
        .ok();
    let (b, c) = (host.network("b").gateways[0], host.network("c").gateways[0]);
    for server in [a.gateway, b] {
        for name in ["cone", "cone-nw", "cone.b", "cone-nw.b"] {
            let shown = dig(&host, "aone", server, name).ok();
            has(&shown, "NOERROR|ANSWER: 1");
        }
        has(
            &dig(&host, "aone", server, "cone-nw AAAA").ok(),
            "NOERROR|ANSWER: 1",
        );
    }
    for server in [b, c] {
        for name in ["aone", "aone-nw"] {
            has(&dig(&host, "cone", server, name).ok(), "NOERROR|ANSWER: 1");
        }
    }
    // On `c` alone, or on `lab` alone, the others are nobody.
    has(&dig(&host, "shared", a.gateway, "cone").ok(), "NXDOMAIN");
    has(&dig(&host, "cone", c, "shared").ok(), "NXDOMAIN");
}
