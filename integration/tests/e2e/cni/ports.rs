//! Published ports of what CNI attached.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::call::{Call, answer, failure, with_network};
use crate::harness::{HOST_IP, HOST_IP6, Host, Netns};

#[test]
fn ports_are_published_on_the_address_that_was_named_in_both_families() {
    let host = with_network();
    let six = ["--subnet", "10.64.0.0/24", "--subnet", "fd64::/64", "six"];
    host.tapestry(&[&["network", "create"], &six[..]].concat())
        .ok();
    let (first, second) = (Netns::new("c1"), Netns::new("c2"));
    let server = first.enter(|| TcpListener::bind("[::]:80").unwrap());
    let call = || Call::add(&first, "c1").with("network", json!("six"));
    let mappings = json!([
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": HOST_IP6},
        {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": HOST_IP},
        {"hostPort": 8082, "containerPort": 80},
        {"hostPort": 0, "containerPort": 81},
    ]);
    answer(&publishing(call(), mappings).make(&host, "ADD"));
    let published = host.network("six").endpoints[0].publish.len();
    assert_eq!(published, 3);
    let (v4, v6) = (IpAddr::from(HOST_IP), IpAddr::from(HOST_IP6));
    for (address, port, leads) in [
        (v6, 8080, true),
        (v4, 8080, false),
        (v6, 8081, false),
        (v4, 8081, true),
        (v6, 8082, true),
        (v4, 8082, true),
    ] {
        assert_eq!(reaches(&host, address, port), leads, "{address} {port}");
    }
    // The agent binds none of them, so that an engine can.
    let bound = host.netns.enter(|| TcpListener::bind((HOST_IP, 8082)));
    drop(bound.unwrap());
    // Another container gets none of them, and nothing at all.
    let other = publishing(
        Call::add(&second, "c2"),
        json!([{"hostPort": 8082, "containerPort": 80}]),
    );
    let taken = failure(&other.make(&host, "ADD"));
    assert!(taken["msg"].as_str().unwrap().contains("8082"), "{taken}");
    assert!(host.network("red").endpoints.is_empty());
    call().make(&host, "DEL").ok();
    assert!(!reaches(&host, v4, 8082));
    answer(&other.make(&host, "ADD"));
    other.make(&host, "DEL").ok();
    drop(server);
}

#[test]
fn a_port_that_cannot_be_had_is_refused_by_name() {
    let host = with_network();
    let netns = Netns::new("c1");
    let taken = host
        .netns
        .enter(|| TcpListener::bind("0.0.0.0:8080").unwrap());
    for (mapping, named) in [
        (json!({"hostPort": 8080, "containerPort": 80}), "8080"),
        (
            json!({"hostPort": 8081, "containerPort": 80, "hostIP": "192.0.2.9"}),
            "192.0.2.9",
        ),
        // Nothing but a proxy could serve it.
        (
            json!({"hostPort": 8081, "containerPort": 80, "hostIP": "::1"}),
            "family",
        ),
    ] {
        let call = publishing(Call::add(&netns, "c1"), json!([mapping]));
        let told = failure(&call.make(&host, "ADD"));
        assert!(told["msg"].as_str().unwrap().contains(named), "{told}");
        assert!(host.network("red").endpoints.is_empty());
    }
    drop(taken);
}

fn publishing<'n>(call: Call<'n>, mappings: Value) -> Call<'n> {
    call.with("runtimeConfig", json!({"portMappings": mappings}))
}

fn reaches(host: &Host, address: IpAddr, port: u16) -> bool {
    let there = SocketAddr::new(address, port);
    let limit = Duration::from_secs(2);
    host.outside
        .enter(|| TcpStream::connect_timeout(&there, limit))
        .is_ok()
}
