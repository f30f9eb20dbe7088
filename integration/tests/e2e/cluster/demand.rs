//! Connections where they serve, and what they cost while nobody speaks.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::{STEP, cluster, cluster_of, create_shared, hosts_of, reaches};
use crate::harness::{Host, Netns, eventually};

/// Counts the packets of tunnels that come to a host and go from it.
struct Packets<'h> {
    netns: &'h Netns,
}

impl<'h> Packets<'h> {
    fn count(host: &'h Host) -> Self {
        host.netns.sh("nft -f - <<'EOF'
add table inet watched
add counter inet watched seen
add chain inet watched in { type filter hook prerouting priority -400; }
add chain inet watched out { type filter hook output priority -400; }
add rule inet watched in udp dport 4790 counter name seen
add rule inet watched out udp dport 4790 counter name seen
EOF");
        Self { netns: &host.netns }
    }

    fn seen(&self) -> u64 {
        let listed = self.netns.sh("nft list counter inet watched seen");
        let mut words = listed.split_whitespace();
        words.find(|word| *word == "packets");
        words.next().unwrap().parse().unwrap()
    }
}

impl Drop for Packets<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.netns.sh("nft delete table inet watched");
        }
    }
}

/// The tunnel from `host` to the host called `name`.
fn tunnel(host: &Host, name: &str) -> Value {
    let hosts = hosts_of(host);
    let other = hosts.iter().find(|other| other["name"] == name);
    other.unwrap()["tunnel"].clone()
}

fn is_up(host: &Host, name: &str) -> bool {
    tunnel(host, name)["up"] == true
}

#[test]
fn hosts_are_connected_where_they_share_a_network_and_say_little_while_nobody_speaks() {
    let lab = cluster(3);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    assert!(is_up(one, "host-2") && is_up(two, "host-1"));
    for (host, name) in [(one, "host-3"), (two, "host-3"), (three, "host-1")] {
        assert_eq!(
            tunnel(host, name)["counts"],
            serde_json::json!({}),
            "{name}"
        );
        assert_eq!(tunnel(host, name)["needed"], false);
    }
    let listed = three.tapestry(&["cluster", "ls"]).ok();
    assert_eq!(listed.matches("idle").count(), 2, "{listed}");

    // Some seconds after the last frame, keepalives are on their way to one a second.
    std::thread::sleep(Duration::from_secs(8));
    let (of_two, of_three) = (Packets::count(two), Packets::count(three));
    let (start, work) = (Instant::now(), two.agent_work());
    std::thread::sleep(Duration::from_secs(4));
    let (packets, lasted) = (of_two.seen(), start.elapsed());
    let work = two.agent_work().saturating_sub(work);
    let per_second = f64::from(u32::try_from(packets).unwrap()) / lasted.as_secs_f64();
    println!(
        "idle, one peer with a shared network: {per_second:.1} packets/s both ways, the whole agent {:.2} ms of CPU a second",
        work.as_secs_f64() * 1000.0 / lasted.as_secs_f64()
    );
    println!("idle, two peers without: {} packets", of_three.seen());
    assert!((0.5..8.0).contains(&per_second), "{per_second}");
    assert_eq!(of_three.seen(), 0);
    assert!(is_up(one, "host-2") && is_up(two, "host-1"));

    // What has been quiet for so long still notices a death within a second of the next frame.
    two.kill_both();
    let killed = Instant::now();
    one.exec("a", "ping -n -c1 -W1 10.9.0.250; true").ok();
    one.exec("a", "ping -n -c3 -i0.2 -W1 b; true").ok();
    eventually(STEP, "the death is known", || {
        (!is_up(one, "host-2")).then_some(())
    });
    assert!(
        killed.elapsed() < Duration::from_secs(3),
        "{:?}",
        killed.elapsed()
    );
    // With it goes what its containers have on this machine.
    two.launch();
}

#[test]
fn the_first_packet_of_the_first_container_arrives() {
    let lab = cluster(3);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &["--ip", "10.9.0.50"]);
    for host in [two, three] {
        eventually(STEP, "the address is known", || {
            let far = host.network("far");
            far.overlay
                .is_some_and(|overlay| !overlay.tunnels.is_empty())
                .then_some(())
        });
        assert!(!is_up(host, "host-1"));
        // One packet, and a second for its answer.
        let ping = ["ping", "-n", "-c1", "-W1", "10.9.0.50"];
        let run = ["run", "--rm", "--network", "far", "--"];
        host.tapestry(&[&run[..], &ping].concat()).ok();
        assert!(is_up(host, "host-1"));
    }
}

#[test]
fn a_connection_that_nobody_needs_any_more_outlives_its_last_container_for_a_while() {
    let lab = cluster(2);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    let ups = tunnel(one, "host-2")["counts"]["ups"].clone();
    two.tapestry(&["rm", "-f", "b"]).ok();
    for (host, name) in [(one, "host-2"), (two, "host-1")] {
        eventually(STEP, "it is not needed", || {
            (tunnel(host, name)["needed"] == false).then_some(())
        });
        assert!(is_up(host, name));
    }
    two.idle("c", "far", &[]);
    reaches(one, "a", "c");
    assert_eq!(tunnel(one, "host-2")["counts"]["ups"], ups);
}

/// VXLAN needs no connection.
#[test]
fn hosts_that_share_vxlan_alone_are_not_connected() {
    let lab = cluster(2);
    let options = ["--subnet", "10.9.0.0/24", "-o", "encap=vxlan"];
    create_shared(&lab, "far", &options);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    assert!(!is_up(one, "host-2") && !is_up(two, "host-1"));
}

#[test]
fn a_manager_that_moves_is_found_by_members_that_share_no_network_with_it() {
    let lab = cluster(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    assert!(!is_up(two, "host-1"));
    one.netns
        .sh("ip addr del 192.0.2.1/24 dev under0; ip addr add 192.0.2.101/24 dev under0");
    eventually(STEP * 2, "the member is in step with it", || {
        let hosts = hosts_of(two);
        let is_told = hosts.iter().any(|host| host["address"] == "192.0.2.101");
        (is_told && cluster_of(two)["in_step"] == true).then_some(())
    });
    // And for itself it comes to life again after a restart.
    two.stop_agent(Signal::TERM);
    two.launch();
    eventually(STEP, "the member is in step again", || {
        (cluster_of(two)["in_step"] == true).then_some(())
    });
}
