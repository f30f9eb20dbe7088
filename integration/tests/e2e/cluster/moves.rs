//! What moves: a host to another address, a container to another host, an address to another container.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::traffic::{Stream, Teller, who_is};
use super::{
    STEP, Underlay, cluster, cluster_of, create_shared, create_shared_on, hosts_of, join, pair,
    reaches, token, tunnels,
};
use crate::harness::{Host, eventually};

/// The host's id, and its number on the underlay.
fn id_and_number(host: &Host, number: usize) -> (String, usize) {
    let id = cluster_of(host)["host"].as_str().unwrap().to_owned();
    (id, number)
}

/// Gives host `number` the address `number` + 100 in place of its own.
fn renumber(host: &Host, number: usize) {
    let new = number + 100;
    host.netns.sh(&format!(
        "ip addr del 192.0.2.{number}/24 dev under0; ip addr add 192.0.2.{new}/24 dev under0"
    ));
}

#[test]
fn a_host_that_changes_its_address_under_load_keeps_its_streams_over_quic() {
    let lab = cluster(4);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    // Of two hosts the one with the lower id dials. The one in the middle does both; the first host has etcd.
    let mut hosts: Vec<_> = (2..=4)
        .map(|number| id_and_number(&lab.hosts[number - 1], number))
        .collect();
    hosts.sort();
    let [low, middle, high] = [0, 1, 2].map(|n| &lab.hosts[hosts[n].1 - 1]);
    for (host, name) in [(low, "low"), (middle, "middle"), (high, "high")] {
        host.idle(name, "far", &[]);
    }
    for (host, from, to) in [(low, "low", "middle"), (middle, "middle", "high")] {
        reaches(host, from, to);
    }
    let to_middle = Stream::start(
        &low.sandbox("low"),
        &middle.sandbox("middle"),
        middle.ipv4("middle"),
    );
    let to_high = Stream::start(
        &middle.sandbox("middle"),
        &high.sandbox("high"),
        high.ipv4("high"),
    );
    to_middle.flows();
    to_high.flows();
    let number = hosts[1].1;
    renumber(middle, number);
    let stalls = std::thread::scope(|scope| {
        let watching = [&to_middle, &to_high]
            .map(|stream| scope.spawn(|| stream.stall(Duration::from_secs(4))));
        watching.map(|stall| stall.join().unwrap())
    });
    assert!(
        stalls.iter().all(|stall| *stall < Duration::from_secs(2)),
        "dialed by another, dialed itself: {stalls:?}"
    );
    to_middle.flows();
    to_high.flows();
    let new = format!("192.0.2.{}", number + 100);
    for host in [low, middle, high] {
        eventually(STEP, "everybody knows the new address", || {
            hosts_of(host)
                .iter()
                .any(|host| host["address"] == *new)
                .then_some(())
        });
        assert_eq!(cluster_of(host)["in_step"], true);
    }
    // A container that starts now is known everywhere, and the host is found after a restart.
    middle.idle("late", "far", &[]);
    reaches(low, "low", "late");
    middle.stop_agent(Signal::TERM);
    middle.launch();
    reaches(high, "high", "late");
}

#[test]
fn a_host_that_changes_its_address_under_load_keeps_its_streams_over_vxlan() {
    let lab = cluster(2);
    let options = ["--subnet", "10.9.0.0/24", "-o", "encap=vxlan"];
    create_shared(&lab, "far", &options);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    let stream = Stream::start(&one.sandbox("a"), &two.sandbox("b"), two.ipv4("b"));
    stream.flows();
    renumber(two, 2);
    let stall = stream.stall(Duration::from_secs(4));
    assert!(stall < Duration::from_secs(2), "{stall:?}");
    stream.flows();
    assert_eq!(tunnels(one, "far"), ["192.0.2.102"]);
}

#[test]
fn tunnels_are_not_tracked_wherever_they_end() {
    let lab = cluster(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let rules = || two.netns.sh("nft list table inet tapestry");
    let untracks = |address: &str, udp_port: u16| {
        let rule = format!("ip daddr {address} udp dport {udp_port} notrack");
        move |rules: &str| rules.contains(&rule)
    };
    assert!(untracks("192.0.2.2", 4790)(&rules()), "{}", rules());
    // The VXLAN socket opens with the first host that has a container.
    create_shared(
        &lab,
        "far",
        &["--subnet", "10.9.0.0/24", "-o", "encap=vxlan"],
    );
    two.idle("b", "far", &[]);
    one.idle("a", "far", &[]);
    reaches(one, "a", "b");
    eventually(STEP, "the rules know of VXLAN", || {
        untracks("192.0.2.2", 4789)(&rules()).then_some(())
    });
    renumber(two, 2);
    eventually(STEP, "the rules follow", || {
        let rules = rules();
        let follow = [4789, 4790].map(|udp_port| {
            untracks("192.0.2.102", udp_port)(&rules) && !untracks("192.0.2.2", udp_port)(&rules)
        });
        (follow == [true, true]).then_some(())
    });
    reaches(one, "a", "b");
}

#[test]
fn the_signer_takes_its_door_and_its_etcd_along() {
    let lab = Underlay::new(3);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
        .ok();
    join(one, two).ok();
    create_shared_on(&[one, two], "far", &["--subnet", "10.9.0.0/24"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    let stream = Stream::start(&two.sandbox("b"), &one.sandbox("a"), one.ipv4("a"));
    stream.flows();
    renumber(one, 1);
    let stall = stream.stall(Duration::from_secs(4));
    assert!(stall < Duration::from_secs(2), "{stall:?}");
    stream.flows();
    let in_step = |hosts: &[&Host]| {
        eventually(STEP, "the hosts are in step", || {
            let all = hosts.iter().all(|host| cluster_of(host)["in_step"] == true);
            all.then_some(())
        });
    };
    in_step(&[one, two]);
    three
        .tapestry(&["cluster", "join", &token(one), "192.0.2.101"])
        .ok();
    in_step(&[three]);
    three.idle("c", "far", &[]);
    reaches(two, "b", "c");
    // Both know of it after a restart, and of another move while the signer was away.
    two.stop_agent(Signal::TERM);
    two.launch();
    in_step(&[two]);
    one.stop_agent(Signal::KILL);
    one.netns
        .sh("ip addr del 192.0.2.101/24 dev under0; ip addr add 192.0.2.201/24 dev under0");
    one.launch();
    in_step(&[one, two, three]);
    one.idle("late", "far", &[]);
    reaches(two, "b", "late");
}

#[test]
fn a_host_that_was_away_while_its_address_changed_comes_back() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    two.stop_agent(Signal::KILL);
    renumber(two, 2);
    two.launch();
    eventually(STEP, "its new address is known", || {
        (tunnels(one, "far") == ["192.0.2.102"]).then_some(())
    });
    reaches(one, "a", "b");
    reaches(two, "b", "a");
}

#[test]
fn a_container_that_moves_with_its_address_is_reached_from_everywhere_within_a_second() {
    let lab = cluster(3);
    let subnets = ["--subnet", "10.9.0.0/24", "--subnet", "fd00:9::/64"];
    create_shared(&lab, "far", &subnets);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for (host, name) in [(one, "w1"), (two, "w2"), (three, "w3")] {
        host.idle(name, "far", &[]);
    }
    let run = |host: &Host| {
        let run = ["run", "-d", "--name", "mover", "--network", "far"];
        let addresses = ["--ip", "10.9.0.77", "--ip6", "fd00:9::77"];
        let command = ["--", "sleep", "1000"];
        host.tapestry(&[&run[..], &addresses, &command].concat())
    };
    run(one).ok();
    for (host, name) in [(one, "w1"), (two, "w2"), (three, "w3")] {
        for address in ["10.9.0.77", "fd00:9::77"] {
            reaches(host, name, address);
        }
    }
    let said = run(two).refused(125);
    assert!(said.contains("mover on host-1"), "{said}");
    one.tapestry(&["rm", "-f", "mover"]).ok();
    eventually(STEP, "the address is free", || {
        (run(two).status == 0).then_some(())
    });
    let (moved, addresses) = (Instant::now(), [two.ipv4("mover"), two.ipv6("mover")]);
    let teller = Teller::start(&two.sandbox("mover"), "mover");
    for (host, name) in [(one, "w1"), (two, "w2"), (three, "w3")] {
        let watcher = host.sandbox(name);
        for address in addresses {
            eventually(STEP, &format!("{name} reaches {address}"), || {
                who_is(&watcher, address, Duration::from_millis(300))
            });
        }
    }
    assert!(
        moved.elapsed() < Duration::from_secs(1),
        "{:?}",
        moved.elapsed()
    );
    drop(teller);
    reaches(three, "w3", "mover");
    for (host, port_owners) in [(one, 2), (three, 2)] {
        assert_eq!(tunnels(host, "far").len(), port_owners);
    }
}

#[test]
fn an_address_that_is_used_again_never_reaches_the_old_container() {
    let lab = cluster(3);
    for name in ["far", "other"] {
        create_shared(&lab, name, &["--subnet", "10.9.0.0/24", "--internal"]);
    }
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    // The old one lives on, in another network of the same subnet.
    one.idle("old", "far", &["--ip", "10.9.0.77"]);
    three.idle("watcher", "far", &["--ip", "10.9.0.3"]);
    let (watcher, address) = (three.sandbox("watcher"), one.ipv4("old"));
    let old = Teller::start(&one.sandbox("old"), "old");
    eventually(STEP, "the watcher reaches the old one", || {
        who_is(&watcher, address, Duration::from_millis(500))
    });
    one.tapestry(&["network", "disconnect", "far", "old"]).ok();
    one.tapestry(&["network", "connect", "--ip", "10.9.0.77", "other", "old"])
        .ok();
    let mac = "02:42:00:00:00:77";
    eventually(STEP, "the address is free", || {
        let run = ["run", "-d", "--name", "new", "--network", "far"];
        let place = ["--ip", "10.9.0.77", "--mac-address", mac];
        let run = two.tapestry(&[&run[..], &place, &["--", "sleep", "1000"]].concat());
        (run.status == 0).then_some(())
    });
    let new = Teller::start(&two.sandbox("new"), "new");
    let answers: Vec<_> = (0..40)
        .filter_map(|_| {
            let answer = who_is(&watcher, address, Duration::from_millis(300));
            std::thread::sleep(Duration::from_millis(25));
            answer
        })
        .collect();
    assert!(answers.iter().all(|answer| answer == "new"), "{answers:?}");
    assert!(answers.len() >= 30, "{answers:?}");
    drop((old, new));
}
