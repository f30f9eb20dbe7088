//! Acts of all kinds on the same few things at once: whoever loses is refused in one line, and nothing is left at the end.

use std::time::{Duration, Instant};

use agent_api::EndpointDetail;
use serde_json::json;

use crate::harness::{Host, Netns};

#[test]
fn acts_on_the_same_things_at_once_leave_nothing_and_break_nothing() {
    let host = Host::start();
    let sandboxes = [(); SANDBOXES].map(|()| Netns::new("mixed"));
    let deadline = Instant::now() + TIME;
    let acted: usize = std::thread::scope(|scope| {
        let (host, sandboxes) = (&host, &sandboxes);
        let actors: Vec<_> = (1..=ACTORS)
            .map(|seed| scope.spawn(move || act(host, sandboxes, seed, deadline)))
            .collect();
        actors.into_iter().map(|actor| actor.join().unwrap()).sum()
    });
    println!("{acted} acts");
    clear(&host);
    assert!(host.containers().is_empty());
    let endpoints: Vec<EndpointDetail> = host.api("GET", "/v1/endpoints", None).ok();
    assert!(endpoints.is_empty(), "{endpoints:?}");
    assert_eq!(host.networks().len(), PREDEFINED, "{:?}", host.networks());
    assert!(!host.log().contains("panicked"), "{}", host.log());
    for sandbox in &sandboxes {
        let links = sandbox.sh("ip -o link show");
        assert!(!links.contains("eth0"), "{links}");
    }
    // Whatever was done, the first address is free again.
    host.idle("after", "bridge", &["-p", "9000:80"]);
    assert_eq!(host.ipv4("after").to_string(), "172.17.0.2");
}

/// Acts until the deadline; how often.
fn act(host: &Host, sandboxes: &[Netns], seed: u64, deadline: Instant) -> usize {
    let mut random = seed;
    let mut pick = |of: u64| {
        // Knuth's MMIX generator; its upper bits are good enough to choose by.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % of
    };
    let mut acted = 0;
    while Instant::now() < deadline {
        let (net, other) = (
            format!("n{}", pick(NETWORKS)),
            format!("n{}", pick(NETWORKS)),
        );
        let name = format!("c{}", pick(CONTAINERS));
        let port = format!("{}:80", 9000 + pick(PORTS));
        let sandbox = &sandboxes[usize::try_from(pick(SANDBOXES as u64)).unwrap()];
        match pick(12) {
            0 => told(host, &["network", "create", &net]),
            1 => told(host, &["network", "rm", &net]),
            2 => told(
                host,
                &[
                    "run",
                    "-d",
                    "--name",
                    &name,
                    "--network",
                    &net,
                    "--",
                    "sleep",
                    "100",
                ],
            ),
            3 => told(
                host,
                &[
                    "run", "-d", "--name", &name, "-p", &port, "--", "sleep", "100",
                ],
            ),
            4 => told(host, &["run", "--rm", "--network", &net, "--", "true"]),
            5 => told(host, &["rm", "-f", &name]),
            6 => told(host, &["stop", "-t", "0", &name]),
            7 => told(host, &["start", &name]),
            8 => told(host, &["network", "connect", &net, &name]),
            9 => told(host, &["network", "disconnect", &net, &name]),
            10 => told(
                host,
                &[
                    "network",
                    if pick(2) == 0 { "patch" } else { "unpatch" },
                    &net,
                    &other,
                ],
            ),
            _ => attach_or_detach(host, &net, sandbox, pick(2) == 0),
        }
        acted += 1;
    }
    acted
}

/// What is refused is refused for a reason.
fn told(host: &Host, arguments: &[&str]) {
    let output = host.tapestry(arguments);
    let broke = output.stderr.contains("failed inside") || output.status == 101;
    assert!(!broke, "{output:?}");
    let lines = output.stderr.lines().count();
    assert!(output.status == 0 || lines == 1, "{output:?}");
}

fn attach_or_detach(host: &Host, network: &str, sandbox: &Netns, attach: bool) {
    let path = sandbox.path();
    let reply = match attach {
        true => {
            let name = sandbox.name();
            let create = json!({ "network": network, "name": name, "sandbox": path });
            host.api("POST", "/v1/endpoints", Some(&create))
        }
        false => {
            let path = format!("/v1/endpoints?sandbox={}", path.display());
            host.api("DELETE", &path, None)
        }
    };
    let told = reply.body.to_string();
    assert!(!told.contains("failed inside"), "{told}");
}

fn clear(host: &Host) {
    for container in host.containers() {
        host.tapestry(&["rm", "-f", &container.name]).ok();
    }
    let endpoints: Vec<EndpointDetail> = host.api("GET", "/v1/endpoints", None).ok();
    for endpoint in endpoints {
        host.api("DELETE", &format!("/v1/endpoints/{}", endpoint.id), None);
    }
    let names: Vec<_> = (0..NETWORKS).map(|number| format!("n{number}")).collect();
    for one in &names {
        for other in names.iter().filter(|other| *other > one) {
            // Most are not patched.
            host.tapestry(&["network", "unpatch", one, other]);
        }
    }
    for network in host.networks() {
        if names.contains(&network.name) {
            host.tapestry(&["network", "rm", &network.name]).ok();
        }
    }
}

const ACTORS: u64 = 12;
const TIME: Duration = Duration::from_secs(8);
const NETWORKS: u64 = 3;
const CONTAINERS: u64 = 4;
const PORTS: u64 = 2;
const SANDBOXES: usize = 2;
const PREDEFINED: usize = 3;
