//! An engine in another mount namespace than the agent: the agent sees none of the paths by which the engine calls its sandboxes.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use super::engine::Docker;
use crate::harness::{HOST_IP, eventually, run};
use crate::publish::{ask_tcp, tcp_server};

#[test]
fn containers_of_an_engine_whose_sandboxes_the_agent_cannot_see_are_connected_all_the_same() {
    let docker = Docker::start_apart();
    docker.network("web", &[]);
    docker.idle("one", "web", &[]);
    docker.idle("two", "web", &["-p", "8080:80"]);
    let key = docker.inspect("one", "{{.NetworkSettings.SandboxKey}}");
    let entered = run(Command::new("nsenter").args([&format!("--net={key}"), "true"]));
    assert_ne!(entered.status, 0, "{key} is a namespace here");
    both_ways(&docker, ("one", "two"));
    answers_outside(&docker);
    // The engine asks for each endpoint that it shows, and the agent looks where its link is.
    for name in ["one", "two"] {
        let shown = docker.address(name, "web");
        let endpoints = docker.host.network("web").endpoints;
        let endpoint = endpoints
            .iter()
            .find(|endpoint| {
                endpoint
                    .addresses
                    .iter()
                    .any(|net| net.addr().to_string() == shown)
            })
            .unwrap_or_else(|| panic!("{shown} is not in {endpoints:?}"));
        assert!(endpoint.moved, "{endpoint:?}");
    }
    docker.docker(&["ps"]).ok();

    // The next agent finds the sandboxes by the containers' processes.
    docker.host.stop_agent(rustix::process::Signal::KILL);
    docker.host.launch();
    both_ways(&docker, ("one", "two"));
    docker.idle("three", "web", &[]);
    both_ways(&docker, ("one", "three"));
    answers_outside(&docker);
    docker.network("side", &[]);
    docker.docker(&["network", "connect", "side", "three"]).ok();
    docker
        .docker(&["network", "disconnect", "web", "three"])
        .ok();
    docker.docker(&["rm", "-f", "one", "two", "three"]).ok();
    for network in ["web", "side"] {
        eventually(Duration::from_secs(5), "nothing is left", || {
            docker
                .host
                .network(network)
                .endpoints
                .is_empty()
                .then_some(())
        });
    }
}

fn both_ways(docker: &Docker, (one, other): (&str, &str)) {
    assert!(docker.pings(one, other), "{}", docker.host.log());
    assert!(docker.pings(other, one), "{}", docker.host.log());
}

fn answers_outside(docker: &Docker) {
    let pid = docker.inspect("two", "{{.State.Pid}}");
    let server = tcp_server(
        format!("/proc/{pid}/ns/net").as_ref(),
        (Ipv4Addr::UNSPECIFIED, 80),
    );
    assert_eq!(
        ask_tcp(&docker.host.outside.path(), (HOST_IP, 8080)),
        Some("hello".into())
    );
    server.join().unwrap();
}
