//! What container runtimes ask of the plugins: CNI, Docker, netavark. What they come to goes on as a request to the API.
//!
//! An input is whose call it is, then its JSON; a call of CNI has the runtime's variables behind a zero byte.

use std::path::Path;

use agent_api::{NetworkCreate, NetworkDetail};
use integration::cni::Environment;
use integration::{cni, docker, netavark};

use super::api;
use crate::Target;
use crate::input::kind;

pub(crate) const TARGET: Target = Target {
    name: "plugin",
    run,
    length_max: 2048,
    words: &[
        b"\"cniVersion\":\"1.0.0\"",
        b"\"name\":\"red\"",
        b"\"type\":\"tapestry\"",
        b"\"runtimeConfig\":",
        b"\"portMappings\":[{\"hostPort\":80,\"containerPort\":80}]",
        b"\"ipam\":{}",
        b"\"args\":{\"cni\":{}}",
        b"\"NetworkID\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
        b"\"EndpointID\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"",
        b"\"IPv4Data\":[{\"AddressSpace\":\"tapestry\",\"Pool\":\"10.1.0.0/16\",\"Gateway\":\"10.1.0.1/16\"}]",
        b"com.docker.network.generic",
        b"com.docker.network.portmap",
        b"\"subnets\":[{\"subnet\":\"10.1.0.0/24\"}]",
        b"\"lease_range\":{\"start_ip\":\"10.1.0.128\",\"end_ip\":\"10.1.0.255\"}",
        b"\"network_options\":{\"interface_name\":\"eth0\"}",
        b"\"port_mappings\":[{\"container_port\":80,\"host_port\":80,\"range\":2}]",
        b"K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop",
        b"IP=10.1.0.9",
        b"null",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, text)) = kind(input) else {
        return;
    };
    match kind {
        b'c' => call_cni(text),
        b'n' => end(netavark::wished_network(text).map(|wished| wished.map(plan))),
        b'N' => {
            let wished = netavark::wished_endpoint(text, &network(), Path::new("/run/netns/c"));
            end(wished.map(|wished| api::plan_endpoint(&wished)));
        }
        b'd' => end(docker::wished_network(text).map(|wished| wished.map(plan))),
        b'D' => end(docker::wished_endpoint(text, "n").map(|wished| api::plan_endpoint(&wished))),
        _ => {}
    }
}

fn call_cni(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let env = Environment {
        container_id: "c1".to_owned(),
        netns: "/run/netns/c".to_owned(),
        ifname: "eth0".to_owned(),
        args: String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned(),
        path: String::new(),
    };
    end(cni::wished_endpoint(text, &env).map(|wished| api::plan_endpoint(&wished)));
}

fn plan(create: NetworkCreate) {
    api::plan_network(create);
}

/// Whoever is refused is told why, in a line.
fn end<T>(done: Result<T, String>) {
    if let Err(why) = done {
        assert!(!why.is_empty());
        assert!(!why.contains(char::is_control), "{why:?}");
    }
}

fn network() -> NetworkDetail {
    serde_json::from_str(NETWORK).expect("it is one")
}

const NETWORK: &str = r#"{"id": "n", "name": "n", "driver": "bridge", "scope": "local", "subnets": ["10.1.0.0/16"],
    "gateways": ["10.1.0.1"], "gateway_mac": null, "ip_range": null, "ipv6": false, "internal": false, "mtu": 1500,
    "dns": [], "options": {}, "host_link": null, "endpoints": [], "drops": {}, "forwarder": null}"#;
