//! The API, as foreign harnesses and plugins use it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use agent_api::{EndpointCreate, EndpointDetail, FdbEntryView};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::to_value;
use switch_core::Mac;

use crate::harness::{Host, Netns, eventually, pings, run};
use crate::packets::{PLAIN, ethernet};

/// Longer than the agent takes to look at sandboxes again, or at what was learned.
const SWEEP: Duration = Duration::from_secs(20);

fn attach(host: &Host, network: &str, name: &str, sandbox: &Path) -> EndpointDetail {
    let create = EndpointCreate {
        network: network.into(),
        name: name.into(),
        sandbox: Some(sandbox.into()),
        ..EndpointCreate::default()
    };
    host.api("POST", "/v1/endpoints", Some(&to_value(create).unwrap()))
        .ok()
}

fn detach(host: &Host, query: &str) {
    host.api("DELETE", &format!("/v1/endpoints?{query}"), None)
        .ok::<()>();
}

fn endpoints(host: &Host) -> Vec<EndpointDetail> {
    host.api("GET", "/v1/endpoints", None).ok()
}

fn dig(netns: &Netns, server: impl ToString, name: &str) -> String {
    let mut command = Command::new("dig");
    command.args([
        &format!("@{}", server.to_string()),
        "+short",
        "+tries=1",
        name,
    ]);
    netns.run(&mut command).stdout.trim().to_owned()
}

/// A second path to a namespace.
struct Mount(PathBuf);

impl Mount {
    fn new(netns: &Netns, path: PathBuf) -> Self {
        File::create(&path).unwrap();
        let mount = Self(path);
        mount.lead_to(netns);
        mount
    }

    fn lead_to(&self, netns: &Netns) {
        let mut command = Command::new("mount");
        run(command.arg("--bind").arg(netns.path()).arg(&self.0)).ok();
    }

    fn take_away(&self) {
        run(Command::new("umount").arg(&self.0)).ok();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-q").arg(&self.0));
    }
}

#[test]
fn a_sandbox_knows_the_names_of_all_its_networks_whichever_paths_attached_it() {
    let host = Host::start();
    for name in ["red", "blue"] {
        host.tapestry(&["network", "create", name]).ok();
        host.idle(&format!("on-{name}"), name, &[]);
    }
    let names = [("on-red", "red"), ("on-blue", "blue")];
    let gateways = names.map(|(_, network)| host.network(network).gateways[0]);
    let netns = Netns::new("twice");
    let other = Mount::new(&netns, host.dir().join("other-path"));
    let red = attach(&host, "red", "sandbox", &netns.path());
    let blue = attach(&host, "blue", "sandbox", &other.0);
    assert_eq!([red.link, blue.link], ["eth0", "eth1"]);
    let knows_all = || {
        for gateway in gateways {
            for (name, _) in names {
                let known = dig(&netns, gateway, name);
                assert_eq!(known, host.ipv4(name).to_string(), "{name} by {gateway}");
            }
        }
    };
    knows_all();
    host.stop_agent(Signal::TERM);
    host.launch();
    knows_all();
    // Either path will do to detach, and what is left knows the names of what is left.
    let by = |path: &Path| format!("sandbox={}&network=blue", path.display());
    detach(&host, &by(&netns.path()));
    assert_eq!(dig(&netns, gateways[0], "on-blue"), "");
    assert_eq!(
        dig(&netns, gateways[0], "on-red"),
        host.ipv4("on-red").to_string()
    );
    attach(&host, "blue", "sandbox", &netns.path());
    knows_all();
    detach(&host, &format!("sandbox={}", other.0.display()));
    assert_eq!(endpoints(&host).len(), 2, "the containers'");
}

#[test]
fn an_endpoint_that_is_given_to_a_container_is_the_containers() {
    let host = Host::start();
    for name in ["red", "blue"] {
        host.tapestry(&["network", "create", name]).ok();
        host.idle(&format!("on-{name}"), name, &[]);
    }
    let sandbox = host.sandbox("on-red");
    attach(&host, "blue", "second", &sandbox);
    assert_eq!(host.container("on-red").endpoints.len(), 2);
    let known = host.exec("on-red", "getent ahostsv4 on-blue").ok();
    assert!(known.contains(&host.ipv4("on-blue").to_string()), "{known}");
    host.tapestry(&["rm", "-f", "on-red"]).ok();
    assert_eq!(endpoints(&host).len(), 1);
}

#[test]
fn a_sandbox_lives_on_when_the_path_that_attached_it_vanishes() {
    let host = Host::start();
    let netns = Netns::new("moves");
    let other = Mount::new(&netns, host.dir().join("other-path"));
    attach(&host, "bridge", "sandbox", &other.0);
    other.take_away();
    known_by(&host, &netns.path());
    assert!(netns.pings(host.network("bridge").gateways[0]));
    host.stop_agent(Signal::TERM);
    host.launch();
    assert!(netns.pings(host.network("bridge").gateways[0]));
    detach(&host, &format!("sandbox={}", netns.path().display()));
    assert!(endpoints(&host).is_empty());
}

#[test]
fn a_sandbox_lives_as_long_as_a_process_in_it() {
    let host = Host::start();
    let netns = Netns::new("process");
    let other = Mount::new(&netns, host.dir().join("other-path"));
    let process = Process(
        netns
            .enter(|| Command::new("sleep").arg("1000").spawn())
            .unwrap(),
    );
    let id = process.0.id();
    attach(&host, "bridge", "sandbox", &other.0);
    other.take_away();
    drop(netns);
    let by_process = PathBuf::from(format!("/proc/{id}/ns/net"));
    known_by(&host, &by_process);
    let gateway = host.network("bridge").gateways[0];
    assert!(pings(&by_process, gateway));
    drop(process);
    eventually(SWEEP, "the endpoint goes with the process", || {
        endpoints(&host).is_empty().then_some(())
    });
}

/// While no agent holds a sandbox, another namespace may come to be where it was.
#[test]
fn a_namespace_that_took_a_sandboxs_place_is_not_given_its_endpoint() {
    let host = Host::start();
    let [first, second] = ["first", "second"].map(Netns::new);
    let path = Mount::new(&first, host.dir().join("path"));
    attach(&host, "bridge", "sandbox", &path.0);
    host.stop_agent(Signal::TERM);
    path.take_away();
    path.lead_to(&second);
    host.launch();
    assert!(endpoints(&host).is_empty());
    let links = second.sh("ip -o link show");
    assert!(!links.contains("eth0"), "{links}");
}

#[test]
fn a_network_without_addresses_is_a_wire() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "none", "wire"])
        .ok();
    let [one, other] = ["one", "other"].map(|name| host.endpoint("wire", name));
    for (endpoint, address) in [(&one, "10.1.1.1/24"), (&other, "10.1.1.2/24")] {
        assert!(
            endpoint.detail.addresses.is_empty(),
            "{:?}",
            endpoint.detail
        );
        let shown = endpoint
            .netns
            .sh("ip -4 -o address show dev eth0; ip route");
        assert_eq!(shown.trim(), "");
        endpoint
            .netns
            .sh(&format!("ip addr add {address} dev eth0"));
    }
    assert!(one.netns.pings("10.1.1.2"));
    let detail = host.network("wire");
    assert!(detail.subnets.is_empty() && detail.host_link.is_none());
    host.idle("web", "wire", &[]);
    host.stop_agent(Signal::TERM);
    host.launch();
    assert!(host.network("wire").subnets.is_empty());
}

#[test]
fn what_a_switch_learned_can_be_flushed_aged_soon_or_not_learned_at_all() {
    let host = Host::start();
    let networks: [(&str, &[&str]); 3] = [
        ("plain", &[]),
        ("soon", &["-o", "fdb.ageing=1"]),
        ("hub", &["-o", "fdb.learning=false"]),
    ];
    for (network, options) in networks {
        host.tapestry(&[&["network", "create"], options, &[network]].concat())
            .ok();
        let endpoint = host.endpoint(network, "one");
        let learned = || -> usize {
            let entries = host
                .api("GET", &format!("/v1/networks/{network}/fdb"), None)
                .ok::<Vec<FdbEntryView>>();
            entries
                .iter()
                .filter(|entry| entry.mac == STRANGER.to_string())
                .count()
        };
        let frame = ethernet(Mac::BROADCAST, STRANGER, 0x88b5, b"somebody");
        endpoint.wire().send(&PLAIN, &frame).unwrap();
        let counted = || {
            let ports = host.ports(network);
            let port = ports
                .iter()
                .find(|port| Some(port.port) == endpoint.detail.port);
            (port?.rx_frames > 0).then_some(())
        };
        eventually(Duration::from_secs(5), "the frame is in", counted);
        match network {
            "hub" => assert_eq!(learned(), 0),
            "soon" => eventually(SWEEP, "it ages", || (learned() == 0).then_some(())),
            _ => {
                eventually(Duration::from_secs(5), "it is learned", || {
                    (learned() == 1).then_some(())
                });
                let other = endpoint.detail.port.unwrap() + 1000;
                let told = host
                    .tapestry(&["fdb", "flush", "--port", &other.to_string(), network])
                    .refused(1);
                assert!(told.contains("has no port"), "{told}");
                assert_eq!(learned(), 1);
                host.tapestry(&["fdb", "flush", network]).ok();
                assert_eq!(learned(), 0);
            }
        }
        let own = host.tapestry(&["fdb", "ls", network]).ok();
        assert!(own.contains(&endpoint.mac().to_string()), "{own}");
    }
}

#[test]
fn a_port_that_is_down_has_no_carrier_and_no_part_in_its_network() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    let [one, other] = ["one", "other"].map(|name| host.endpoint("lab", name));
    assert!(one.netns.pings(other.ipv4()));
    let port = other.detail.port.unwrap().to_string();
    let is = |expected: &str| {
        let ports = host.ports("lab");
        let mut ports = ports.iter();
        let shown = ports.find(|shown| Some(shown.port) == other.detail.port);
        assert_eq!(shown.unwrap().state, expected);
    };
    is("up");
    host.tapestry(&["port", "down", "lab", &port]).ok();
    is("down");
    carrier(&other.netns, false);
    assert!(!one.netns.pings(other.ipv4()));
    assert!(
        !endpoints(&host)
            .iter()
            .any(|endpoint| endpoint.id == other.detail.id && endpoint.up)
    );
    host.stop_agent(Signal::TERM);
    host.launch();
    carrier(&other.netns, false);
    let path = format!("/v1/endpoints/{}/up", other.detail.id);
    let detail: EndpointDetail = host.api("POST", &path, None).ok();
    assert!(detail.up);
    carrier(&other.netns, true);
    eventually(Duration::from_secs(10), "it is reached again", || {
        one.netns.pings(other.ipv4()).then_some(())
    });
}

/// The kernel says it a moment after it knows.
#[track_caller]
fn carrier(netns: &Netns, expected: bool) {
    eventually(Duration::from_secs(5), "the carrier changes", || {
        let is_there = !netns.sh("ip -o link show dev eth0").contains("NO-CARRIER");
        (is_there == expected).then_some(())
    });
}

const STRANGER: Mac = Mac::new([2, 0, 0, 0, 0, 9]);

fn known_by(host: &Host, path: &Path) {
    eventually(SWEEP, &format!("{} is known", path.display()), || {
        let endpoints = endpoints(host);
        let [endpoint] = endpoints.as_slice() else {
            panic!("{endpoints:?}")
        };
        (endpoint.sandbox.as_deref() == Some(path)).then_some(())
    });
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}
