//! Many hosts: networks over QUIC and VXLAN, with and without a cluster.

mod addresses;
mod backup;
mod captures;
mod certificates;
mod demand;
mod etcd;
mod faults;
mod figures;
mod hostile_member;
mod killed;
mod managers;
mod membership;
mod moves;
mod nat;
mod networks;
mod path_mtu;
mod place;
mod records;
mod refusals;
mod relay;
mod static_vxlan;
mod trace;
mod traffic;
mod upgrades;
mod views;

pub(crate) use static_vxlan::share_static;

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Host, Netns, Output, eventually};

/// Counts how often a host tries to connect to a TCP port, whether or not anybody answers.
struct Tries<'h> {
    netns: &'h Netns,
}

impl<'h> Tries<'h> {
    fn count(host: &'h Host, tcp_port: u16) -> Self {
        host.netns.sh(&format!(
            "nft add table inet tries
             nft add counter inet tries seen
             nft add chain inet tries out '{{ type filter hook output priority -400; }}'
             nft add rule inet tries out tcp dport {tcp_port} tcp flags '& (syn | ack) == syn' counter name seen"
        ));
        Self { netns: &host.netns }
    }

    /// Waits for so many from now on.
    fn wait_for(&self, more: u64) {
        let before = self.seen();
        eventually(STEP * 4, "the host has tried often enough", || {
            (self.seen() >= before + more).then_some(())
        });
    }

    fn seen(&self) -> u64 {
        let listed = self.netns.sh("nft list counter inet tries seen");
        let mut words = listed.split_whitespace();
        words.find(|word| *word == "packets");
        words.next().unwrap().parse().unwrap()
    }
}

impl Drop for Tries<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.netns.sh("nft delete table inet tries");
        }
    }
}

/// Hosts on one underlay: a bridge of the kernel in a namespace of its own. Host `n` has 192.0.2.`n` and 2001:db8:5::`n`.
pub(crate) struct Underlay {
    pub(crate) netns: Netns,
    pub(crate) hosts: Vec<Host>,
}

impl Underlay {
    /// `count` hosts with running agents.
    pub(crate) fn new(count: usize) -> Self {
        let underlay = Self::without_agents(count);
        for host in &underlay.hosts {
            host.launch();
        }
        underlay
    }

    pub(crate) fn without_agents(count: usize) -> Self {
        let netns = Netns::new("wire");
        netns.sh("ip link add wire type bridge; ip link set wire up");
        let hosts: Vec<_> = (1..=count)
            .map(|number| {
                let host = Host::without_agent();
                plug(&netns, &host.netns, number);
                configure(&host, number);
                host
            })
            .collect();
        Self { netns, hosts }
    }
}

/// Names the host, and gives it a short lease.
fn configure(host: &Host, number: usize) {
    let config = host.dir().join("agent.toml");
    let mut config = fs::File::options().append(true).open(config).unwrap();
    let lease_s = LEASE.as_secs();
    write!(
        config,
        "[cluster]\nname = \"host-{number}\"\nlease_s = {lease_s}\n"
    )
    .unwrap();
}

impl Drop for Underlay {
    /// The host that runs etcd goes last: the others take leave of it.
    fn drop(&mut self) {
        while let Some(host) = self.hosts.pop() {
            drop(host);
        }
    }
}

/// A cluster of all hosts of an underlay; the first one made it.
pub(crate) fn cluster(count: usize) -> Underlay {
    let lab = Underlay::new(count);
    gather(&lab.hosts.iter().collect::<Vec<_>>());
    lab
}

/// Makes a cluster of the hosts of an underlay.
pub(crate) fn gather(members: &[&Host]) {
    let first = members[0];
    first
        .tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
        .ok();
    for host in &members[1..] {
        join(first, host).ok();
    }
    for host in members {
        eventually(STEP, "every host sees every host", || {
            let hosts = hosts_of(host);
            let all_up = hosts.iter().all(|host| host["state"] == "up");
            (hosts.len() == members.len() && all_up).then_some(())
        });
    }
}

fn token(host: &Host) -> String {
    let token = host.tapestry(&["cluster", "token", "-q"]).ok();
    token.trim().to_owned()
}

fn join(first: &Host, host: &Host) -> Output {
    host.tapestry(&["cluster", "join", &token(first), "192.0.2.1"])
}

fn cluster_of(host: &Host) -> Value {
    host.api("GET", "/v1/cluster", None).ok()
}

fn hosts_of(host: &Host) -> Vec<Value> {
    cluster_of(host)["hosts"].as_array().unwrap().clone()
}

/// `network create` on the cluster, known everywhere when this returns.
pub(crate) fn create_shared(lab: &Underlay, name: &str, options: &[&str]) {
    let hosts: Vec<_> = lab.hosts.iter().collect();
    create_shared_on(&hosts, name, options);
}

/// The same where `hosts` are the cluster.
pub(crate) fn create_shared_on(hosts: &[&Host], name: &str, options: &[&str]) {
    let head = ["network", "create", "--driver", "overlay"];
    hosts[0]
        .tapestry(&[&head[..], options, &[name]].concat())
        .ok();
    for host in hosts {
        eventually(STEP, "every host knows the network", || {
            let networks = host.networks();
            networks
                .iter()
                .any(|network| network.name == name)
                .then_some(())
        });
    }
}

/// Whether `container` reaches `target`, by name or address, within a while.
fn reaches(host: &Host, container: &str, target: &str) {
    eventually(STEP, &format!("{container} reaches {target}"), || {
        let ping = host.exec(container, &format!("ping -n -c1 -W1 {target}"));
        (ping.status == 0).then_some(())
    });
}

/// Two hosts with the containers `a` and `b`, which reach each other on the network `far`.
pub(crate) fn pair() -> Underlay {
    let lab = cluster(2);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    lab.hosts[0].idle("a", "far", &[]);
    lab.hosts[1].idle("b", "far", &[]);
    reaches(&lab.hosts[0], "a", "b");
    lab
}

fn tunnels(host: &Host, network: &str) -> Vec<String> {
    let ports = host.ports(network);
    let tunnels = ports.into_iter().filter(|port| port.kind == "tunnel");
    tunnels.map(|port| port.owner).collect()
}

/// A veth pair from the underlay's bridge into `netns`.
pub(crate) fn plug(underlay: &Netns, netns: &Netns, number: usize) {
    let name = netns.name();
    underlay.sh(&format!(
        "ip link add port{number} type veth peer name under0 netns {name}
         ip link set port{number} master wire up"
    ));
    netns.sh(&format!(
        "echo 0 >/proc/sys/net/ipv6/conf/under0/accept_dad
         ip addr add 192.0.2.{number}/24 dev under0
         ip addr add 2001:db8:5::{number}/64 dev under0 nodad
         ip link set under0 up"
    ));
}

const STEP: Duration = Duration::from_secs(10);
/// As the hosts of these tests are configured.
const LEASE: Duration = Duration::from_secs(3);

/// What makes a host itself in the cluster, with all its attributes.
fn copy_identity(from: &Host, to: &Host) {
    let [from, to] = [from, to].map(|host| host.state_dir().join("cluster"));
    let copied = std::process::Command::new("cp")
        .args(["-a", "--"])
        .args([&from, &to])
        .status()
        .unwrap();
    assert!(copied.success());
}
