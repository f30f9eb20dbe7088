//! The command as a netavark plugin.

mod caller;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread::spawn;
use std::time::Duration;

use serde_json::json;

use crate::harness::{HOST_IP, Host, Netns, enter};
use caller::{Attachment, Caller, id, network};

#[test]
fn a_container_of_podmans_gets_a_seat_and_a_name() {
    let host = Host::start();
    let podman = Caller::new(&host);
    let red = podman
        .create(&network(
            "red",
            json!({"subnets": [{"subnet": "10.66.0.0/24"}]}),
        ))
        .unwrap();
    assert_eq!(red["subnets"][0]["gateway"], "10.66.0.1");
    assert_eq!(host.network("red").summary.id, id("red"));
    let netns = Netns::new("c1");
    let web = Attachment::new(&red, "web").option("aliases", json!(["776562000000", "www"]));
    let status = podman.setup(&netns.path(), &web).unwrap();
    assert_eq!(status["dns_server_ips"], json!(["10.66.0.1"]));
    let eth0 = &status["interfaces"]["eth0"];
    assert_eq!(
        eth0["subnets"],
        json!([{"ipnet": "10.66.0.2/24", "gateway": "10.66.0.1"}])
    );
    let link = netns.sh("ip addr show eth0");
    assert!(
        link.contains(eth0["mac_address"].as_str().unwrap()),
        "{link}"
    );
    // Beside a container of our own, by name and both ways.
    host.idle("ours", "red", &[]);
    for name in ["web", "www", "776562000000"] {
        host.exec("ours", &format!("ping -n -c1 -W2 {name}")).ok();
    }
    assert!(netns.pings(host.ipv4("ours")));
    let asked = netns.sh("busybox nslookup -type=a ours 10.66.0.1");
    assert!(asked.contains(&host.ipv4("ours").to_string()), "{asked}");
    assert_eq!(podman.teardown(&netns.path(), &web), Ok(json!(null)));
    assert!(!netns.sh("ip -br link").contains("eth0"));
    assert_eq!(host.network("red").endpoints.len(), 1);
}

#[test]
fn a_network_has_what_podman_asked_for_and_a_container_what_its_user_chose() {
    let host = Host::start();
    let podman = Caller::new(&host);
    let asked = json!({"subnets": [{"subnet": "10.66.0.0/24", "gateway": "10.66.0.9",
        "lease_range": {"start_ip": "10.66.0.129", "end_ip": "10.66.0.255"}}, {"subnet": "fd66::/64"}],
        "ipv6_enabled": true, "internal": true, "options": {"mtu": "1400"}, "labels": {"a": "b"}});
    let red = podman.create(&network("red", asked)).unwrap();
    assert_eq!(red["subnets"][1]["gateway"], "fd66::1");
    let made = host.network("red");
    assert_eq!((made.mtu, made.internal, made.ipv6), (1400, true, true));
    assert_eq!(made.summary.labels["a"], "b");
    let [chosen, given] = ["chosen", "given"].map(Netns::new);
    let wishes = Attachment::new(&red, "chosen")
        .option("interface_name", json!("net7"))
        .option("static_ips", json!(["10.66.0.77", "fd66::77"]))
        .option("static_mac", json!("02:00:00:00:00:77"));
    let status = podman.setup(&chosen.path(), &wishes).unwrap();
    assert_eq!(
        status["interfaces"]["net7"],
        json!({"mac_address": "02:00:00:00:00:77", "subnets": [
            {"ipnet": "10.66.0.77/24", "gateway": null}, {"ipnet": "fd66::77/64", "gateway": null}]})
    );
    let link = chosen.sh("ip addr show net7");
    for part in [
        "02:00:00:00:00:77",
        "10.66.0.77/24",
        "fd66::77/64",
        "mtu 1400",
    ] {
        assert!(link.contains(part), "{part}: {link}");
    }
    assert!(!chosen.sh("ip route").contains("default"));
    let web = Attachment::new(&red, "given");
    let status = podman.setup(&given.path(), &web).unwrap();
    let first = &status["interfaces"]["eth0"]["subnets"][0]["ipnet"];
    assert_eq!(first, "10.66.0.128/24", "the first of --ip-range");
    podman.teardown(&chosen.path(), &wishes).unwrap();
    podman.teardown(&given.path(), &web).unwrap();
}

#[test]
fn ports_lead_to_the_container_until_it_is_torn_down() {
    let host = Host::start();
    let podman = Caller::new(&host);
    let [red, blue] = ["red", "blue"].map(|name| podman.create(&network(name, json!({}))).unwrap());
    let netns = Netns::new("c1");
    let ports = json!([
        {"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 2},
        {"container_port": 53, "host_ip": HOST_IP, "host_port": 5353, "protocol": "udp", "range": 1}]);
    let first = Attachment::new(&red, "web").ports(ports.clone());
    // Podman passes the same ports to each network of a container.
    let second = Attachment::new(&blue, "web")
        .ports(ports)
        .option("interface_name", json!("eth1"));
    podman.setup(&netns.path(), &first).unwrap();
    podman.setup(&netns.path(), &second).unwrap();
    serve_tcp(&netns.path(), 81);
    serve_udp(&netns.path(), 53);
    assert_eq!(ask_tcp(&host, 8081), Some("hello".to_owned()));
    assert_eq!(ask_udp(&host, 5353), Some("hello".to_owned()));
    // A port is one container's.
    let other = Netns::new("c2");
    let taken = Attachment::new(&red, "db")
        .ports(json!([{"container_port": 80, "host_port": 8080, "host_ip": "", "protocol": "tcp", "range": 1}]));
    let refused = podman.setup(&other.path(), &taken).unwrap_err();
    assert!(refused.contains("8080"), "{refused}");
    assert_eq!(host.network("red").endpoints.len(), 1);
    podman.teardown(&netns.path(), &first).unwrap();
    podman.teardown(&netns.path(), &second).unwrap();
    podman.setup(&other.path(), &taken).unwrap();
    podman.teardown(&other.path(), &taken).unwrap();
}

#[test]
fn teardown_succeeds_whatever_has_gone() {
    let host = Host::start();
    let podman = Caller::new(&host);
    let red = podman.create(&network("red", json!({}))).unwrap();
    let web = Attachment::new(&red, "web");
    let netns = Netns::new("c1");
    podman.setup(&netns.path(), &web).unwrap();
    let path = netns.path();
    drop(netns);
    podman.teardown(&path, &web).unwrap();
    assert!(host.network("red").endpoints.is_empty());
    podman.teardown(&path, &web).unwrap();
    host.tapestry(&["network", "rm", "red"]).ok();
    podman.teardown(&path, &web).unwrap();
}

#[test]
fn setup_heals_what_was_lost_since_create() {
    let host = Host::start();
    let podman = Caller::new(&host);
    let asked = json!({"subnets": [{"subnet": "fd66::/64"}], "ipv6_enabled": true});
    let red = podman.create(&network("red", asked)).unwrap();
    let subnets = host.network("red").subnets;
    // `tapestry network prune`, or a state directory that is lost.
    host.tapestry(&["network", "prune", "-f"]).ok();
    let [before, after] = ["before", "after"].map(Netns::new);
    let web = Attachment::new(&red, "web");
    let first = podman.setup(&before.path(), &web).unwrap();
    assert_eq!(host.network("red").subnets, subnets);
    // The host went down without a teardown; the container has a namespace of a new boot.
    drop(before);
    let second = podman.setup(&after.path(), &web).unwrap();
    assert_eq!(first, second, "a container keeps its place");
    assert_eq!(host.network("red").endpoints.len(), 1);
    // A reply that was lost on its way: the same again.
    assert_eq!(podman.setup(&after.path(), &web).unwrap(), second);
    podman.teardown(&after.path(), &web).unwrap();
}

#[test]
fn a_name_that_podman_gives_again_is_a_new_network_and_one_of_others_is_joined() {
    let host = Host::start();
    let podman = Caller::new(&host);
    podman.create(&network("red", json!({}))).unwrap();
    // `podman network rm` tells nobody.
    let again = network(
        "red",
        json!({"id": id("red again"), "options": {"mtu": "1300"}}),
    );
    let red = podman.create(&again).unwrap();
    assert_eq!(host.network("red").mtu, 1300);
    let other = podman.create(&network("green", json!({}))).unwrap();
    assert_ne!(red["subnets"], other["subnets"]);
    let used = Netns::new("used");
    let web = Attachment::new(&red, "web");
    podman.setup(&used.path(), &web).unwrap();
    let refused = podman.create(&network("red", json!({}))).unwrap_err();
    assert!(refused.contains("red"), "{refused}");
    podman.teardown(&used.path(), &web).unwrap();
    host.tapestry(&["network", "create", "--subnet", "10.66.0.0/24", "lab"])
        .ok();
    let refused = podman.create(&network("lab", json!({}))).unwrap_err();
    assert!(refused.contains("lab"), "{refused}");
    let joined = network("mine", json!({"options": {"network": "lab"}}));
    let joined = podman.create(&joined).unwrap();
    assert_eq!(joined["subnets"][0]["subnet"], "10.66.0.0/24");
    let web = Attachment::new(&joined, "web");
    podman.setup(&used.path(), &web).unwrap();
    assert_eq!(host.network("lab").endpoints[0].name, "web");
    podman.teardown(&used.path(), &web).unwrap();
    let missing = network("mine", json!({"options": {"network": "nonet"}}));
    assert!(podman.create(&missing).unwrap_err().contains("nonet"));
}

#[test]
fn failures_are_in_the_protocols_form_and_nothing_is_made() {
    let host = Host::start();
    let podman = Caller::new(&host);
    for (asked, word) in [
        (json!({"network_interface": "br9"}), "--interface-name"),
        (json!({"options": {"isolate": "true"}}), "isolate"),
        (json!({"options": {"mtu": "20"}}), "MTU 20"),
        (json!({"options": {"vni": "none"}}), "vni"),
        (json!({"ipam_options": {"driver": "dhcp"}}), "dhcp"),
        (
            json!({"subnets": [{"subnet": "10.66.0.0/24"}, {"subnet": "10.67.0.0/24"}]}),
            "IPv4",
        ),
    ] {
        let refused = podman.create(&network("red", asked)).unwrap_err();
        assert!(refused.contains(word), "{refused}");
    }
    assert_eq!(host.networks().len(), 3, "those that are always there");
    let red = podman.create(&network("red", json!({}))).unwrap();
    let netns = Netns::new("c1");
    let web = || Attachment::new(&red, "web");
    let sctp = json!([{"container_port": 80, "host_port": 80, "host_ip": "", "protocol": "sctp", "range": 1}]);
    for (wrong, word) in [
        (web().ports(sctp), "sctp"),
        (
            web().option("static_ips", json!(["192.0.2.1"])),
            "192.0.2.1",
        ),
        (web().option("static_mac", json!("none")), "none"),
        (
            web().option("interface_name", json!("longer_than_a_link")),
            "longer_than_a_link",
        ),
        (web().option("options", json!({"a": "b"})), "a:"),
    ] {
        let refused = podman.setup(&netns.path(), &wrong).unwrap_err();
        assert!(refused.contains(word), "{refused}");
    }
    let refused = podman
        .setup(Path::new("/proc/version"), &web())
        .unwrap_err();
    assert!(!refused.is_empty());
    assert!(host.network("red").endpoints.is_empty());
    assert!(!netns.sh("ip -br link").contains("eth"));
}

#[test]
fn what_is_no_call_of_netavarks_is_refused() {
    let host = Host::start();
    let plugin = Caller::direct(&host);
    assert_eq!(plugin.info()["api_version"], "1.0.0");
    for input in [json!(5), json!({"id": "x"}), json!({"name": 5, "id": "x"})] {
        let refused = plugin.call(&["create"], &input).unwrap_err();
        assert!(refused.contains("standard input"), "{refused}");
        plugin.call(&["setup", "/run/netns/x"], &input).unwrap_err();
        plugin
            .call(&["teardown", "/run/netns/x"], &input)
            .unwrap_err();
    }
    host.stop_agent(rustix::process::Signal::TERM);
    let refused = plugin
        .call(&["create"], &network("red", json!({})))
        .unwrap_err();
    assert!(refused.contains("tapestry agent"), "{refused}");
    host.launch();
}

fn serve_tcp(sandbox: &Path, port: u16) {
    let listener = enter(sandbox, || TcpListener::bind(("0.0.0.0", port)).unwrap());
    spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    });
}

fn serve_udp(sandbox: &Path, port: u16) {
    let socket = enter(sandbox, || UdpSocket::bind(("0.0.0.0", port)).unwrap());
    spawn(move || {
        let (_, peer) = socket.recv_from(&mut [0; 16]).unwrap();
        socket.send_to(b"hello", peer).unwrap();
    });
}

fn ask_tcp(host: &Host, port: u16) -> Option<String> {
    let address = (IpAddr::from(HOST_IP), port).into();
    enter(&host.outside.path(), || {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })
}

fn ask_udp(host: &Host, port: u16) -> Option<String> {
    enter(&host.outside.path(), || {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"ask", (HOST_IP, port)).unwrap();
        let mut answer = [0; 16];
        let length = socket.recv(&mut answer).ok()?;
        Some(String::from_utf8(answer[..length].to_vec()).unwrap())
    })
}

const PATIENCE: Duration = Duration::from_secs(3);
