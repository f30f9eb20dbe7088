//! `docker run -p`: from outside, in both families.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use rustix::process::Signal;

use super::engine::Docker;
use crate::harness::{HOST_IP, HOST_IP6, OUTSIDE_IP};
use crate::publish::{ask_tcp, ask_udp, tcp_server, udp_server};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn sandbox(docker: &Docker, container: &str) -> PathBuf {
    let pid = docker.inspect(container, "{{.State.Pid}}");
    format!("/proc/{pid}/ns/net").into()
}

fn asked(docker: &Docker, to: IpAddr, port: u16) -> Option<String> {
    ask_tcp(&docker.host.outside.path(), (to, port))
}

#[test]
fn ports_are_reached_from_outside() {
    let docker = Docker::start();
    docker.network("web", &["--ipv6", "--subnet", "fd70::/64"]);
    let ports = [
        "-p",
        "8080:80",
        "-p",
        "5353:53/udp",
        "-p",
        "127.0.0.1:8081:81",
        "-p",
        "9000-9001:90-91",
    ];
    docker.idle("one", "web", &ports);
    let web = sandbox(&docker, "one");
    let hello = Some("hello".to_owned());
    let any6 = std::net::Ipv6Addr::UNSPECIFIED;
    for (to, host_port, port) in [
        (IpAddr::from(HOST_IP), 8080, 80),
        (HOST_IP6.into(), 8080, 80),
        (HOST_IP.into(), 9000, 90),
        (HOST_IP.into(), 9001, 91),
    ] {
        let server = tcp_server(&web, (any6, port));
        assert_eq!(asked(&docker, to, host_port), hello, "{to} {host_port}");
        server.join().unwrap();
    }
    let _udp = udp_server(&web, 53);
    assert_eq!(ask_udp(&docker.host.outside.path(), (HOST_IP, 5353)), hello);
    assert_eq!(asked(&docker, HOST_IP.into(), 8081), None);
    let server = tcp_server(&web, (ANY, 81));
    assert_eq!(
        ask_tcp(&docker.host.netns.path(), (Ipv4Addr::LOCALHOST, 8081)),
        hello
    );
    server.join().unwrap();
    // A second one gets what the first one left of a range, and nothing where nothing is left.
    docker.idle("two", "web", &["-p", "9001-9002:90"]);
    let server = tcp_server(&sandbox(&docker, "two"), (ANY, 90));
    assert_eq!(asked(&docker, HOST_IP.into(), 9002), hello);
    server.join().unwrap();
    let clash = [
        "run",
        "--rm",
        "--network",
        "web",
        "-p",
        "8080:80",
        super::engine::IMAGE,
        "true",
    ];
    let told = docker.docker(&clash).refused(125);
    assert!(told.contains("8080"), "{told}");
    docker.docker(&["rm", "-f", "one"]).ok();
    assert_eq!(asked(&docker, HOST_IP.into(), 8080), None);
}

/// The ports lead to the network that is its way out, and only there.
#[test]
fn ports_of_a_container_on_two_networks_are_published_once() {
    let docker = Docker::start();
    for name in ["red", "blue"] {
        docker.network(name, &[]);
    }
    docker.idle("both", "red", &["-p", "8080:80"]);
    docker.docker(&["network", "connect", "blue", "both"]).ok();
    let reached = || {
        let server = tcp_server(&sandbox(&docker, "both"), (ANY, 80));
        assert_eq!(asked(&docker, HOST_IP.into(), 8080), Some("hello".into()));
        server.join().unwrap();
    };
    reached();
    // Whichever it was, the other one takes over.
    for name in ["red", "blue"] {
        docker.docker(&["network", "disconnect", name, "both"]).ok();
        reached();
        docker.docker(&["network", "connect", name, "both"]).ok();
        reached();
    }
}

/// Docker's own bridge, its rules and its proxy, beside a network of ours that comes and goes.
#[test]
fn dockers_own_networks_live_beside_ours() {
    let docker = Docker::start();
    docker.network("web", &[]);
    docker.idle("theirs", "bridge", &["-p", "8081:80"]);
    docker.idle("ours", "web", &["-p", "8080:80"]);
    let out = OUTSIDE_IP.to_string();
    let both_work = || {
        for (container, host_port) in [("theirs", 8081), ("ours", 8080)] {
            assert!(docker.pings(container, &out), "{container}");
            let server = tcp_server(&sandbox(&docker, container), (ANY, 80));
            let answer = asked(&docker, HOST_IP.into(), host_port);
            assert_eq!(answer, Some("hello".into()), "{container}");
            server.join().unwrap();
        }
    };
    both_work();
    docker.host.netns.sh("iptables -P FORWARD DROP");
    docker.host.stop_agent(Signal::KILL);
    docker.host.launch();
    both_work();
    // On both at once, whichever of them leads outside.
    docker.docker(&["network", "connect", "web", "theirs"]).ok();
    docker.docker(&["network", "create", "plain"]).ok();
    docker.docker(&["network", "connect", "plain", "ours"]).ok();
    assert!(docker.pings("theirs", "ours") && docker.pings("ours", "theirs"));
    both_work();
    docker.docker(&["rm", "-f", "ours", "theirs"]).ok();
    let pruned = docker.docker(&["network", "prune", "-f"]).ok();
    assert!(
        pruned.contains("web") && pruned.contains("plain"),
        "{pruned}"
    );
}
