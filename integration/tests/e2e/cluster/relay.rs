//! Hosts that cannot reach each other over UDP, and those that pass on what is for them.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::captures::Capture;
use super::traffic::Stream;
use super::{STEP, Underlay, cluster, cluster_of, create_shared, gather, hosts_of, reaches};
use crate::harness::{Host, eventually};

/// What does not go between two hosts any more, until dropped.
struct Wall<'h> {
    host: &'h Host,
}

impl<'h> Wall<'h> {
    /// No tunnel of `host` leads to `other` or from there.
    fn between(host: &'h Host, other: usize) -> Self {
        let address = format!("192.0.2.{other}");
        host.netns.sh(&format!(
            "nft -f - <<'EOF'
add table inet wall
add chain inet wall in {{ type filter hook prerouting priority -300; }}
add chain inet wall out {{ type filter hook output priority -300; }}
add rule inet wall in ip saddr {address} udp dport 4790 drop
add rule inet wall out ip daddr {address} udp dport 4790 drop
EOF"
        ));
        Self { host }
    }
}

impl Drop for Wall<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.host.netns.sh("nft delete table inet wall");
        }
    }
}

/// What `host` says of its tunnel to the host of that number.
fn tunnel(host: &Host, number: usize) -> Value {
    let name = format!("host-{number}");
    let hosts = hosts_of(host).into_iter();
    let mut found = hosts.filter(|host| host["name"] == name.as_str());
    found
        .next()
        .map_or(Value::Null, |mut host| host["tunnel"].take())
}

/// Waits until two hosts reach each other over a third, or directly.
#[track_caller]
fn wait_for_way(ends: [(&Host, usize); 2], relay: Option<&Host>) {
    let relay = relay.map_or(Value::Null, |relay| cluster_of(relay)["host"].clone());
    eventually(STEP, &format!("tunnels go over {relay}"), || {
        let is_so = ends.iter().all(|(host, other)| {
            let tunnel = tunnel(host, *other);
            tunnel["up"] == true && tunnel["relay"] == relay
        });
        is_so.then_some(())
    });
}

fn relayed(host: &Host) -> u64 {
    cluster_of(host)["quic"]["relayed"].as_u64().unwrap_or(0)
}

#[test]
fn two_hosts_that_do_not_reach_each_other_go_through_a_third_which_cannot_read_it() {
    let lab = cluster(3);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let [relay, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    two.idle("a", "far", &[]);
    three.idle("b", "far", &[]);
    reaches(two, "a", "b");
    let ends = [(two, 3), (three, 2)];
    wait_for_way(ends, None);
    let stream = Stream::start(&two.sandbox("a"), &three.sandbox("b"), three.ipv4("b"));
    stream.flows();

    let wall = Wall::between(two, 3);
    wait_for_way(ends, Some(relay));
    stream.flows();
    for (host, other) in ends {
        let listed = host.tapestry(&["cluster", "ls"]).ok();
        let line = listed
            .lines()
            .find(|line| line.contains(&format!("host-{other}")));
        assert!(line.unwrap().contains("up via host-1"), "{listed}");
    }
    let before = relayed(relay);
    let capture = Capture::start(relay, "udp port 4790");
    let marked = "ping -n -c5 -i0.2 -W1 -s 1000 -p 6d61726b65646d61726b6564";
    two.exec("a", &format!("{marked} b")).ok();
    three.exec("b", &format!("{marked} a")).ok();
    let captured = fs::read(capture.end()).unwrap();
    assert!(relayed(relay) >= before + 20);
    assert!(captured.len() > 20 * 1000, "{}", captured.len());
    let marker = b"markedmarked";
    assert!(!captured.windows(marker.len()).any(|bytes| bytes == marker));

    drop(wall);
    wait_for_way(ends, None);
    let stall = stream.stall(Duration::from_secs(1));
    assert!(stall < Duration::from_millis(800), "{stall:?}");
    let after = relayed(relay);
    two.exec("a", "ping -n -c3 -i0.2 -W1 b").ok();
    assert_eq!(relayed(relay), after, "it still goes through the third");
}

#[test]
fn a_relay_that_dies_is_followed_by_another_and_without_any_the_tunnel_is_down() {
    let lab = cluster(4);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let [manager, two, three, four] = lab.hosts.as_slice() else {
        unreachable!()
    };
    three.idle("a", "far", &[]);
    four.idle("b", "far", &[]);
    reaches(three, "a", "b");
    let b = four.ipv4("b").to_string();
    let ends = [(three, 4), (four, 3)];
    let _wall = Wall::between(three, 4);
    // Managers are asked first, and the others where one was asked before it was connected to both.
    let relay = eventually(STEP, "a third host relays", || {
        let [one, other] = ends.map(|(host, other)| tunnel(host, other));
        let are_up = one["up"] == true && other["up"] == true;
        let relay = (one["relay"] == other["relay"]).then(|| one["relay"].clone())?;
        (are_up && !relay.is_null()).then_some(relay)
    });
    let relays = [manager, two];
    let is_it = |host: &&&Host| cluster_of(host)["host"] == relay;
    let first = *relays.iter().find(is_it).unwrap();
    let second = *relays.iter().find(|host| !is_it(host)).unwrap();
    let other = cluster_of(second)["host"].clone();
    first.stop_agent(Signal::KILL);
    eventually(STEP, "the other one relays", || {
        let relays = ends.map(|(host, other)| tunnel(host, other)["relay"].take());
        relays.iter().all(|relay| *relay == other).then_some(())
    });
    reaches(three, "a", &b);
    second.stop_agent(Signal::KILL);
    eventually(STEP, "both say that it is down", || {
        let are_down = ends
            .iter()
            .all(|(host, other)| tunnel(host, *other)["up"] == false);
        are_down.then_some(())
    });
    let listed = three.tapestry(&["cluster", "ls"]).ok();
    let line = listed.lines().find(|line| line.contains("host-4")).unwrap();
    assert!(line.contains("down"), "{listed}");
    for host in [manager, two] {
        host.launch();
    }
}

#[test]
fn a_host_relays_only_if_it_is_willing_and_only_for_members() {
    let lab = Underlay::without_agents(3);
    let [manager, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let config = manager.dir().join("agent.toml");
    let willing = fs::read_to_string(&config).unwrap();
    let mut file = fs::File::options().append(true).open(&config).unwrap();
    file.write_all(b"relay = false\n").unwrap();
    for host in &lab.hosts {
        host.launch();
    }
    let _wall = Wall::between(two, 3);
    gather(&[manager, two, three]);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    two.idle("a", "far", &[]);
    three.idle("b", "far", &[]);
    let ends = [(two, 3), (three, 2)];
    eventually(STEP, "the tunnels to the manager are up", || {
        let are_up = ends.iter().all(|(host, _)| tunnel(host, 1)["up"] == true);
        are_up.then_some(())
    });
    // Longer than a dial of each kind.
    std::thread::sleep(Duration::from_secs(2));
    for (host, other) in ends {
        assert_eq!(tunnel(host, other)["up"], false, "over an unwilling host");
    }
    assert_eq!(relayed(manager), 0);

    fs::write(&config, willing).unwrap();
    manager.stop_agent(Signal::TERM);
    manager.launch();
    wait_for_way(ends, Some(manager));
    assert!(relayed(manager) > 0);

    manager.tapestry(&["cluster", "revoke", "host-3"]).ok();
    eventually(STEP, "the revoked host is cut off", || {
        (tunnel(two, 3) == Value::Null).then_some(())
    });
    let passed = relayed(manager);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(relayed(manager), passed, "a revoked host is relayed");
}
