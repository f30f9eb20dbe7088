//! `docker network create -d tapestry`, `docker run` and what people say with them.

use super::engine::{Docker, IMAGE};

#[test]
fn containers_reach_each_other_by_address_and_by_name() {
    let docker = Docker::start();
    docker
        .docker(&["network", "create", "-d", "tapestry", "web"])
        .ok();
    docker.idle("one", "web", &[]);
    docker.idle("two", "web", &["--network-alias", "second"]);
    let address = docker.address("two", "web");
    for target in [&*address, "two", "second"] {
        assert!(docker.pings("one", target), "{target}");
    }
    let links = docker.exec("one", "ip link").ok();
    assert!(!links.contains("eth1"), "docker_gwbridge is there: {links}");
    let told = docker.docker(&["network", "rm", "web"]).refused(1);
    assert!(told.contains("active endpoints"), "{told}");
    docker.docker(&["rm", "-f", "one", "two"]).ok();
    docker.docker(&["network", "rm", "web"]).ok();
    assert!(
        docker
            .host
            .networks()
            .iter()
            .all(|network| network.name != "web")
    );
}

#[test]
fn a_container_has_a_way_out() {
    let docker = Docker::start();
    docker
        .docker(&["network", "create", "-d", "tapestry", "web"])
        .ok();
    let out = crate::harness::OUTSIDE_IP.to_string();
    let run = [
        "run",
        "--rm",
        "--init",
        "--network",
        "web",
        IMAGE,
        "ping",
        "-c1",
        "-W5",
        &out,
    ];
    docker.docker(&run).ok();
}
