//! `docker-compose up`: networks with drivers, options and addresses, health, scale.

use std::fs;
use std::process::Command;

use super::engine::{Docker, IMAGE};
use crate::harness::{Output, run};

/// Three services on two networks, of which one waits until another is healthy.
const PROJECT: &str = r#"
services:
  web:
    image: IMAGE
    init: true
    command: httpd -f -p 80
    depends_on: {db: {condition: service_healthy}}
    networks: {front: {}, back: {}}
  db:
    image: IMAGE
    init: true
    command: sleep 1000
    healthcheck: {test: [CMD, "true"], interval: 1s, timeout: 5s, retries: 10}
    networks: {back: {aliases: [store], ipv4_address: 10.74.0.9}}
  worker:
    image: IMAGE
    init: true
    command: sleep 1000
    scale: 3
    networks: [back]
networks:
  front: {driver: tapestry}
  back:
    driver: tapestry
    driver_opts: {com.docker.network.driver.mtu: "1400"}
    ipam: {driver: tapestry, config: [{subnet: 10.74.0.0/24}]}
"#;

#[test]
fn a_project_goes_up_and_down() {
    let docker = Docker::start();
    let file = docker.host.dir().join("compose.yaml");
    fs::write(&file, PROJECT.replace("IMAGE", IMAGE)).unwrap();
    let compose = |arguments: &[&str]| -> Output {
        let mut command = Command::new("docker-compose");
        command
            .args(["--project-name", "shop", "--file"])
            .arg(&file);
        run(docker.towards(command.args(arguments)))
    };
    compose(&["up", "-d"]).ok();
    for name in ["db", "store", "web", "worker", "10.74.0.9"] {
        assert!(docker.pings("shop-worker-1", name), "{name}");
    }
    assert_eq!(
        docker
            .exec(
                "shop-worker-1",
                "nslookup worker 127.0.0.11 | grep -c 'Address: 10.74'"
            )
            .ok()
            .trim(),
        "3"
    );
    assert!(
        docker
            .exec("shop-db-1", "ip link show eth0")
            .ok()
            .contains("mtu 1400")
    );
    let mut names: Vec<_> = docker
        .host
        .networks()
        .into_iter()
        .map(|network| network.name)
        .collect();
    names.retain(|name| name.starts_with("shop_"));
    names.sort();
    assert_eq!(names, ["shop_back", "shop_front"]);
    assert_eq!(docker.host.network("shop_back").endpoints.len(), 5);
    compose(&["down", "-t", "1"]).ok();
    assert_eq!(docker.host.networks().len(), 3, "the predefined ones");
}
