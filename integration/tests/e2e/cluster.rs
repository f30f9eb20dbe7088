//! Many hosts: networks over VXLAN, with and without a cluster.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Host, Netns, Output, eventually};

/// Hosts on one underlay: a bridge of the kernel in a namespace of its own. Host `n` has 192.0.2.`n` and 2001:db8:5::`n`.
struct Underlay {
    netns: Netns,
    hosts: Vec<Host>,
}

impl Underlay {
    /// `count` hosts with running agents.
    fn new(count: usize) -> Self {
        let underlay = Self::without_agents(count);
        for host in &underlay.hosts {
            host.launch();
        }
        underlay
    }

    fn without_agents(count: usize) -> Self {
        let netns = Netns::new("wire");
        netns.sh("ip link add wire type bridge; ip link set wire up");
        let hosts: Vec<_> = (1..=count)
            .map(|number| {
                let host = Host::without_agent();
                plug(&netns, &host.netns, number);
                let config = host.dir().join("agent.toml");
                let mut config = fs::File::options().append(true).open(config).unwrap();
                write!(config, "[cluster]\nname = \"host-{number}\"\nlease_s = 3\n").unwrap();
                host
            })
            .collect();
        Self { netns, hosts }
    }
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
fn cluster(count: usize) -> Underlay {
    let lab = Underlay::new(count);
    let first = &lab.hosts[0];
    first
        .tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
        .ok();
    for host in &lab.hosts[1..] {
        join(first, host).ok();
    }
    for host in &lab.hosts {
        eventually(STEP, "every host sees every host", || {
            let hosts = hosts_of(host);
            let all_up = hosts.iter().all(|host| host["state"] == "up");
            (hosts.len() == count && all_up).then_some(())
        });
    }
    lab
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
fn create_shared(lab: &Underlay, name: &str, options: &[&str]) {
    let head = ["network", "create", "--driver", "overlay"];
    lab.hosts[0]
        .tapestry(&[&head[..], options, &[name]].concat())
        .ok();
    for host in &lab.hosts {
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

fn tunnels(host: &Host, network: &str) -> Vec<String> {
    let ports = host.ports(network);
    let tunnels = ports.into_iter().filter(|port| port.kind == "tunnel");
    tunnels.map(|port| port.owner).collect()
}

/// A veth pair from the underlay's bridge into `netns`.
fn plug(underlay: &Netns, netns: &Netns, number: usize) {
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

/// `network create` of a static VXLAN to `remotes`.
fn create_static(host: &Host, name: &str, options: &[&str], remotes: &str) {
    let remote = format!("remote={remotes}");
    let head = ["network", "create", "--driver", "overlay"];
    let tail = ["-o", "encap=vxlan", "-o", &remote, name];
    host.tapestry(&[&head[..], options, &tail].concat()).ok();
}

#[test]
fn two_hosts_share_a_network_over_static_vxlan() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for (host, remote, range) in [
        (one, "192.0.2.2", "10.9.0.64/26"),
        (two, "192.0.2.1", "10.9.0.128/26"),
    ] {
        let options = [
            "-o",
            "vni=7",
            "--subnet",
            "10.9.0.0/24",
            "--ip-range",
            range,
        ];
        create_static(host, "far", &options, remote);
    }
    let detail = one.network("far");
    assert_eq!(detail.mtu, 1450);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &["--ip", "10.9.0.200"]);
    assert!(one.ipv4("a").to_string().starts_with("10.9.0.6"));
    one.exec("a", "ping -n -c3 -W2 10.9.0.200").ok();
    let a = one.ipv4("a");
    // The largest packet goes through, a larger one does not leave.
    two.exec("b", &format!("ping -n -c2 -W2 -M do -s 1422 {a}"))
        .ok();
    assert_ne!(
        two.exec("b", &format!("ping -n -c1 -W1 -M do -s 1423 {a}"))
            .status,
        0
    );
    let tunnels: Vec<_> = one
        .ports("far")
        .into_iter()
        .filter(|port| port.kind == "tunnel")
        .collect();
    assert_eq!(tunnels.len(), 1, "{tunnels:#?}");
    assert_eq!(tunnels[0].owner, "192.0.2.2");
    assert!(
        tunnels[0].tx_frames > 0 && tunnels[0].rx_frames > 0,
        "{tunnels:#?}"
    );
    let listed = one.tapestry(&["network", "ls"]).ok();
    assert!(
        listed
            .lines()
            .any(|line| line.contains("far") && line.contains("global")),
        "{listed}"
    );
}

#[test]
fn a_static_vxlan_is_there_again_after_a_restart_of_the_agent() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for (host, remote, range) in [
        (one, "2001:db8:5::2", "10.9.0.64/26"),
        (two, "2001:db8:5::1", "10.9.0.128/26"),
    ] {
        let options = [
            "-o",
            "vni=7",
            "--subnet",
            "10.9.0.0/24",
            "--ip-range",
            range,
        ];
        create_static(host, "far", &options, remote);
    }
    assert_eq!(one.network("far").mtu, 1430);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    let b = two.ipv4("b");
    one.exec("a", &format!("ping -n -c2 -W2 {b}")).ok();
    one.stop_agent(Signal::TERM);
    one.launch();
    one.exec("a", &format!("ping -n -c2 -W2 {b}")).ok();
}

#[test]
fn a_static_vxlan_exchanges_frames_with_the_kernels_device() {
    let lab = Underlay::new(1);
    let host = &lab.hosts[0];
    let kernel = Netns::new("kern");
    plug(&lab.netns, &kernel, 9);
    let options = ["-o", "vni=42", "--subnet", "10.9.0.0/24"];
    create_static(host, "far", &options, "192.0.2.9");
    host.idle("a", "far", &[]);
    kernel.sh(
        "ip link add vx type vxlan id 42 remote 192.0.2.1 local 192.0.2.9 dstport 4789 dev under0
         ip addr add 10.9.0.9/24 dev vx; ip link set vx up",
    );
    let a = host.ipv4("a");
    eventually(
        Duration::from_secs(5),
        "the kernel reaches the container",
        || kernel.pings(a).then_some(()),
    );
    host.exec("a", "ping -n -c2 -W2 10.9.0.9").ok();
}

#[test]
fn what_a_static_vxlan_lacks_is_said() {
    let lab = Underlay::new(1);
    let host = &lab.hosts[0];
    let refused = |options: &[&str]| {
        let head = ["network", "create", "--driver", "overlay"];
        host.tapestry(&[&head[..], options, &["far"]].concat())
            .refused(1)
    };
    let subnet = ["--subnet", "10.9.0.0/24"];
    for (options, part) in [
        (&[][..], "cluster"),
        (&["-o", "remote=192.0.2.2", "-o", "vni=7"], "--subnet"),
        (&[subnet[0], subnet[1], "-o", "remote=192.0.2.2"], "vni"),
        (
            &[
                subnet[0],
                subnet[1],
                "-o",
                "remote=192.0.2.2",
                "-o",
                "vni=7",
                "--mtu",
                "1500",
            ],
            "1450",
        ),
        (
            &[
                subnet[0],
                subnet[1],
                "-o",
                "remote=192.0.2.2",
                "-o",
                "vni=7",
                "-o",
                "encap=quic",
            ],
            "cluster",
        ),
    ] {
        let said = refused(options);
        assert!(
            said.contains(part) && said.lines().count() == 1,
            "{options:?}: {said}"
        );
    }
    assert!(host.networks().iter().all(|network| network.name != "far"));
}

#[test]
fn three_hosts_share_a_network_and_its_names_over_quic() {
    let lab = cluster(3);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    share_a_network(&lab, 1500);
}

#[test]
fn three_hosts_share_a_network_and_its_names_over_vxlan() {
    let lab = cluster(3);
    let options = ["--subnet", "10.9.0.0/24", "-o", "encap=vxlan"];
    create_shared(&lab, "far", &options);
    share_a_network(&lab, 1450);
}

fn share_a_network(lab: &Underlay, mtu: u16) {
    for (number, host) in lab.hosts.iter().enumerate() {
        host.idle(&format!("c{number}"), "far", &[]);
    }
    let addresses: Vec<_> = (0..3)
        .map(|number| lab.hosts[number].ipv4(&format!("c{number}")).to_string())
        .collect();
    let mut distinct = addresses.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 3, "{addresses:?}");
    for (from, host) in lab.hosts.iter().enumerate() {
        for (to, address) in addresses.iter().enumerate() {
            reaches(host, &format!("c{from}"), address);
            reaches(host, &format!("c{from}"), &format!("c{to}"));
        }
        let listed = host.tapestry(&["network", "ls"]).ok();
        assert!(
            listed
                .lines()
                .any(|line| line.contains("far") && line.contains("global"))
        );
        assert_eq!(tunnels(host, "far").len(), 2);
        assert_eq!(host.network("far").mtu, mtu);
        let whole = mtu - 28;
        host.exec(
            &format!("c{from}"),
            &format!(
                "ping -n -c2 -W2 -M do -s {whole} {}",
                addresses[(from + 1) % 3]
            ),
        )
        .ok();
    }
    // A host that has no endpoint left is not flooded to.
    lab.hosts[2].tapestry(&["rm", "-f", "c2"]).ok();
    eventually(STEP, "the tunnel to the third host goes", || {
        (tunnels(&lab.hosts[0], "far") == ["192.0.2.2"]).then_some(())
    });
    let used = lab.hosts[2].tapestry(&["network", "rm", "far"]).refused(1);
    assert!(
        used.contains("c0") && used.contains("other hosts"),
        "{used}"
    );
}

#[test]
fn two_networks_with_one_subnet_do_not_mix() {
    let lab = cluster(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for name in ["red", "blue"] {
        create_shared(&lab, name, &["--subnet", "10.9.0.0/24", "--internal"]);
        one.idle(&format!("{name}-one"), name, &["--ip", "10.9.0.11"]);
    }
    two.idle("red-two", "red", &[]);
    reaches(two, "red-two", "10.9.0.11");
    reaches(two, "red-two", "red-one");
    assert_ne!(two.exec("red-two", "ping -n -c1 -W1 blue-one").status, 0);
    one.tapestry(&["rm", "-f", "red-one"]).ok();
    // The other network's container of that address does not answer.
    eventually(STEP, "10.9.0.11 is silent", || {
        let ping = two.exec("red-two", "ping -n -c1 -W1 10.9.0.11");
        (ping.status != 0).then_some(())
    });
}

#[test]
fn an_address_moves_with_its_container() {
    let lab = cluster(3);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    three.idle("watcher", "far", &[]);
    one.idle("mover", "far", &["--ip", "10.9.0.77"]);
    reaches(three, "watcher", "10.9.0.77");
    let taken = two.tapestry(&[
        "run",
        "-d",
        "--network",
        "far",
        "--ip",
        "10.9.0.77",
        "--",
        "true",
    ]);
    let said = taken.refused(125);
    assert!(said.contains("another host"), "{said}");
    one.tapestry(&["rm", "-f", "mover"]).ok();
    eventually(STEP, "the address is free", || {
        let run = [
            "run",
            "-d",
            "--name",
            "mover",
            "--network",
            "far",
            "--ip",
            "10.9.0.77",
        ];
        let run = two.tapestry(&[&run[..], &["--", "sleep", "1000"]].concat());
        (run.status == 0).then_some(())
    });
    let moved = Instant::now();
    reaches(three, "watcher", "10.9.0.77");
    assert!(
        moved.elapsed() < Duration::from_secs(2),
        "{:?}",
        moved.elapsed()
    );
    reaches(three, "watcher", "mover");
    assert_eq!(tunnels(three, "far"), ["192.0.2.2"]);
}

#[test]
fn a_token_admits_one_host_once() {
    let lab = Underlay::new(3);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let early = one.tapestry(&["cluster", "token"]).refused(1);
    assert!(early.contains("cluster init"), "{early}");
    one.tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
        .ok();
    let again = one.tapestry(&["cluster", "init"]).refused(1);
    assert!(again.contains("already"), "{again}");

    let token = token(one);
    let cut = two.tapestry(&["cluster", "join", &token[..60], "192.0.2.1"]);
    assert!(cut.refused(1).contains("copy the whole line"));
    // Another CA's hash: the joining host tells it nothing.
    let digit = if token.as_bytes()[9] == b'0' {
        "1"
    } else {
        "0"
    };
    let other = format!("{}{digit}{}", &token[..9], &token[10..]);
    let stranger = two
        .tapestry(&["cluster", "join", &other, "192.0.2.1"])
        .refused(1);
    assert!(
        stranger.contains("not the cluster of this token"),
        "{stranger}"
    );

    let race = std::thread::scope(|scope| {
        let joins = [two, three].map(|host| {
            let token = &token;
            scope.spawn(move || host.tapestry(&["cluster", "join", token, "192.0.2.1"]))
        });
        joins.map(|join| join.join().unwrap())
    });
    let admitted = race.iter().filter(|join| join.status == 0).count();
    assert_eq!(admitted, 1, "{race:#?}");
    let refused = race.into_iter().find(|join| join.status != 0).unwrap();
    assert!(
        refused.stderr.contains("unknown, used or expired"),
        "{refused:?}"
    );
    for (host, secret) in lab
        .hosts
        .iter()
        .zip(std::iter::repeat(&token[token.len() - 32..]))
    {
        assert!(!host.log().contains(secret), "a secret in the log");
    }
    let short = one.tapestry(&["cluster", "token", "-q", "--ttl", "1"]).ok();
    std::thread::sleep(Duration::from_millis(1100));
    let late = if hosts_of(one).iter().any(|host| host["name"] == "host-2") {
        three
    } else {
        two
    };
    let expired = late
        .tapestry(&["cluster", "join", short.trim(), "192.0.2.1"])
        .refused(1);
    assert!(expired.contains("expired"), "{expired}");
}

#[test]
fn a_revoked_host_is_shut_out() {
    let lab = cluster(2);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    one.tapestry(&["cluster", "revoke", "host-2"]).ok();
    eventually(STEP, "its tunnel is closed", || {
        tunnels(one, "far").is_empty().then_some(())
    });
    eventually(STEP, "it reaches etcd no more", || {
        (cluster_of(two)["in_step"] == false).then_some(())
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(cluster_of(two)["in_step"], false);
    assert_eq!(hosts_of(one).len(), 1);
    assert_ne!(one.exec("a", "ping -n -c1 -W1 b").status, 0);
    // It may come back, with a new token.
    two.tapestry(&["rm", "-f", "b"]).ok();
    two.tapestry(&["cluster", "leave"]).ok();
    assert!(two.networks().iter().all(|network| network.name != "far"));
    join(one, two).ok();
    eventually(STEP, "it is a host again", || {
        (hosts_of(one).len() == 2).then_some(())
    });
}

#[test]
fn what_a_killed_host_shared_goes_with_its_lease() {
    let lab = cluster(2);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &[]);
    two.idle("b", "far", &["--ip", "10.9.0.50"]);
    reaches(one, "a", "10.9.0.50");
    two.stop_agent(Signal::KILL);
    eventually(Duration::from_secs(15), "its records go", || {
        tunnels(one, "far").is_empty().then_some(())
    });
    two.launch();
    reaches(one, "a", "b");
    reaches(two, "b", "a");
}

#[test]
fn certificates_are_renewed_before_they_end() {
    let lab = Underlay::without_agents(2);
    for host in &lab.hosts {
        let config = host.dir().join("agent.toml");
        let mut config = fs::File::options().append(true).open(config).unwrap();
        writeln!(config, "certificate_s = 12").unwrap();
        host.launch();
    }
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
        .ok();
    join(one, two).ok();
    for host in [two, one] {
        let until = cluster_of(host)["certificate_until_s"].as_u64().unwrap();
        eventually(Duration::from_secs(20), "a newer certificate", || {
            let now = cluster_of(host)["certificate_until_s"].as_u64().unwrap();
            (now > until).then_some(())
        });
    }
    std::thread::sleep(Duration::from_secs(10));
    for host in &lab.hosts {
        assert_eq!(cluster_of(host)["in_step"], true);
    }
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
}

#[test]
fn the_host_with_etcd_may_be_killed_and_comes_back_over_ipv6() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "init", "--advertise", "[2001:db8:5::1]:5790"])
        .ok();
    let token = token(one);
    two.tapestry(&["cluster", "join", &token, "[2001:db8:5::1]:5790"])
        .ok();
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24", "--ipv6"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", &two.ipv6("b").to_string());
    one.stop_agent(Signal::KILL);
    one.launch();
    eventually(STEP, "both are in step again", || {
        let both = [one, two]
            .iter()
            .all(|host| cluster_of(host)["in_step"] == true);
        both.then_some(())
    });
    reaches(two, "b", "a");
    let left = one.tapestry(&["cluster", "leave"]).refused(1);
    assert!(left.contains('a'), "{left}");
    two.tapestry(&["rm", "-f", "b"]).ok();
    two.tapestry(&["cluster", "leave"]).ok();
    one.tapestry(&["rm", "-f", "a"]).ok();
    one.tapestry(&["cluster", "leave"]).ok();
    assert!(!one.state_dir().join("cluster").exists());
}

#[test]
fn secrets_are_for_root_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = cluster(2);
    for host in &lab.hosts {
        let dir = host.state_dir().join("cluster");
        let files = fs::read_dir(&dir).unwrap().flatten();
        let mut keys = 0;
        for file in files.filter(|file| file.file_type().unwrap().is_file()) {
            let name = file.file_name().into_string().unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            let is_secret = name.ends_with(".key");
            keys += usize::from(is_secret);
            assert!(!is_secret || mode == 0o600, "{name}: {mode:o}");
        }
        assert!(keys >= 2, "{keys}");
        let mode = fs::metadata(&dir).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        assert!(!host.log().contains("PRIVATE KEY"));
    }
}

/// An etcd of the test's own, beside the hosts.
struct Etcd<'l> {
    lab: &'l Underlay,
    dir: tempfile::TempDir,
    child: Child,
}

impl<'l> Etcd<'l> {
    const URL: &'static str = "http://192.0.2.100:2379";

    fn start(lab: &'l Underlay) -> Self {
        lab.netns.sh("ip addr add 192.0.2.100/24 dev wire");
        let dir = tempfile::TempDir::with_prefix("e").unwrap();
        let child = spawn_etcd(&lab.netns, &dir);
        Self { lab, dir, child }
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn start_again(&mut self) {
        self.child = spawn_etcd(&self.lab.netns, &self.dir);
    }
}

impl Drop for Etcd<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn_etcd(netns: &Netns, dir: &tempfile::TempDir) -> Child {
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(dir.path())
        .args([
            "--listen-client-urls",
            Etcd::URL,
            "--advertise-client-urls",
            Etcd::URL,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    netns.enter(|| command.spawn()).unwrap()
}

#[test]
fn without_etcd_traffic_goes_on_and_containers_start() {
    let lab = Underlay::new(2);
    let mut etcd = Etcd::start(&lab);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let init = [
        "cluster",
        "init",
        "--advertise",
        "192.0.2.1",
        "--etcd",
        Etcd::URL,
    ];
    one.tapestry(&init).ok();
    join(one, two).ok();
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");

    etcd.stop();
    for host in [one, two] {
        eventually(Duration::from_secs(15), "etcd is missed", || {
            (cluster_of(host)["in_step"] == false).then_some(())
        });
    }
    one.exec("a", "ping -n -c2 -W1 b").ok();
    let started = Instant::now();
    one.idle("late", "far", &[]);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    reaches(one, "late", "a");
    let refused = one
        .tapestry(&[
            "network",
            "create",
            "-d",
            "overlay",
            "-o",
            "encap=vxlan",
            "other",
        ])
        .refused(1);
    assert!(refused.contains("etcd"), "{refused}");
    one.exec("a", "ping -n -c1 -W1 b").ok();

    etcd.start_again();
    eventually(
        Duration::from_secs(15),
        "the hosts are in step again",
        || {
            let both = [one, two]
                .iter()
                .all(|host| cluster_of(host)["in_step"] == true);
            both.then_some(())
        },
    );
    reaches(two, "b", "late");
    reaches(one, "late", "b");
}

const STEP: Duration = Duration::from_secs(10);
