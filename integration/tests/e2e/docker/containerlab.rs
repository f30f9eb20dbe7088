//! What containerlab does with a management network that is there already (`mgmt: {network: NAME}`), call by call: it cannot be
//! installed from a package registry.

use std::process::Command;

use super::engine::{Docker, IMAGE};
use crate::harness::run;

#[test]
fn a_labs_nodes_have_a_management_network_and_wires_of_their_own() {
    let docker = Docker::start();
    let subnet = ["--subnet", "10.77.0.0/24", "--gateway", "10.77.0.1"];
    docker
        .docker(
            &[
                &["network", "create", "-d", "tapestry"],
                &subnet[..],
                &["mgmt"],
            ]
            .concat(),
        )
        .ok();
    // Where it finds no bridge of the network's, it takes the gateway from here.
    let gateway = docker.inspect("mgmt", "{{(index .IPAM.Config 0).Gateway}}");
    assert_eq!(gateway, "10.77.0.1");
    for (node, address) in [("r1", "10.77.0.11"), ("r2", "10.77.0.12")] {
        let head = ["run", "-d", "--init", "--hostname", node, "--name", node];
        let place = ["--network", "mgmt", "--ip", address, IMAGE, "sleep", "1000"];
        docker.docker(&[&head[..], &place[..]].concat()).ok();
    }
    let pid = |node: &str| docker.inspect(node, "{{.State.Pid}}");
    let netns = |node: &str| format!("/proc/{}/ns/net", pid(node));
    let within = |node: &str, command: &[&str]| {
        let mut entered = Command::new("nsenter");
        let namespace = format!("--net={}", netns(node));
        run(entered.arg(namespace).args(command)).ok()
    };
    for node in ["r1", "r2"] {
        within(node, &["ethtool", "-K", "eth0", "tx", "off"]);
    }
    // A wire between two nodes is a veth pair, whose ends are moved and renamed.
    let mut wire = Command::new("ip");
    wire.args(["link", "add", "clab1", "netns", &pid("r1"), "type", "veth"]);
    wire.args(["peer", "name", "clab2", "netns", &pid("r2")]);
    docker.host.netns.run(&mut wire).ok();
    for (node, end, address) in [
        ("r1", "clab1", "192.0.2.1/30"),
        ("r2", "clab2", "192.0.2.2/30"),
    ] {
        within(node, &["ip", "link", "set", end, "name", "eth1", "up"]);
        within(node, &["ip", "address", "add", address, "dev", "eth1"]);
    }
    for target in ["10.77.0.12", "192.0.2.2"] {
        assert!(docker.pings("r1", target), "{target}");
    }
    docker.await_name("mgmt");
    assert!(docker.pings("r1", "r2"));
    // The host reaches a node's management address, as `ssh` to it does.
    let mut ping = Command::new("ping");
    let answered = docker
        .host
        .netns
        .run(ping.args(["-c1", "-W2", "10.77.0.11"]));
    assert_eq!(answered.status, 0, "{answered:?}");
}
