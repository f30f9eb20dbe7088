//! Two engines on two hosts, and a network of the cluster's beneath both.

use std::time::Duration;

use super::engine::Docker;
use crate::cluster::{Underlay, create_shared_on, gather};
use crate::harness::eventually;

#[test]
fn containers_of_two_engines_share_a_network() {
    let mut lab = Underlay::without_agents(2);
    let hosts = std::mem::take(&mut lab.hosts).into_iter();
    let mut engines: Vec<_> = hosts.map(|host| Docker::beside(host, &[])).collect();
    for docker in &engines {
        docker.host.launch();
    }
    let hosts: Vec<_> = engines.iter().map(|docker| &docker.host).collect();
    gather(&hosts);
    create_shared_on(&hosts, "far", &["--subnet", "10.9.0.0/24"]);
    let names = ["one", "two"];
    for (docker, name) in engines.iter().zip(names) {
        docker.launch();
        docker.import();
        let create = [
            "network",
            "create",
            "-d",
            "tapestry",
            "--ipam-driver",
            "null",
        ];
        docker
            .docker(&[&create[..], &["-o", "network=far", "far"]].concat())
            .ok();
        docker.idle(name, "far", &[]);
    }
    for (docker, [own, other]) in engines.iter().zip([["one", "two"], ["two", "one"]]) {
        eventually(Duration::from_secs(10), "they know each other", || {
            docker.pings(own, other).then_some(())
        });
        // As long as the packets of an Ethernet.
        let ping = format!("ping -c2 -W2 -s 1472 {other}");
        docker.exec(own, &ping).ok();
    }
    let addresses: Vec<_> = engines
        .iter()
        .zip(names)
        .map(|(docker, name)| docker.address(name, "far"))
        .collect();
    assert_ne!(addresses[0], addresses[1]);
    // The first has the cluster's store, which the other takes leave of.
    while let Some(docker) = engines.pop() {
        drop(docker);
    }
}
