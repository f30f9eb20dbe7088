//! Where hosts are: one installed anew at its old address, one that is a copy of another.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{STEP, Underlay, cluster, cluster_of, create_shared, hosts_of, join, reaches};
use crate::harness::{Host, eventually};

/// The machine loses its power, and all that the agent knew.
fn wipe(host: &Host) {
    host.stop_agent(Signal::KILL);
    fs::remove_dir_all(host.state_dir()).unwrap();
    host.netns.sh(
        "nft flush ruleset
         for link in $(ip -o link show | grep -o 'tsy[0-9a-f]*'); do ip link del $link || true; done",
    );
}

#[test]
fn a_host_installed_anew_at_its_old_address_is_reached_at_once() {
    let lab = cluster(2);
    create_shared(&lab, "sealed", &["--subnet", "10.9.0.0/24"]);
    create_shared(
        &lab,
        "plain",
        &["--subnet", "10.8.0.0/24", "-o", "encap=vxlan"],
    );
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let networks = ["sealed", "plain"];
    let watchers = networks.map(|network| one.endpoint(network, &format!("watcher-{network}")));
    for life in 0..6 {
        let ends = networks.map(|network| two.endpoint(network, &format!("{network}-{life}")));
        let begun = Instant::now();
        for (watcher, end) in watchers.iter().zip(&ends) {
            eventually(STEP, &format!("life {life} is reached"), || {
                watcher.netns.pings(end.ipv4()).then_some(())
            });
        }
        // Its former self is dead for the others when its lease ends, and not before.
        let took = begun.elapsed();
        assert!(life == 0 || took < Duration::from_secs(2), "{took:?}");
        wipe(two);
        drop(ends);
        two.launch();
        join(one, two).ok();
        eventually(STEP, "the networks are there again", || {
            let known = two.networks();
            let has = |name: &str| known.iter().any(|network| network.name == name);
            let are_there = networks.iter().all(|name| has(name));
            (are_there && cluster_of(two)["in_step"] == true).then_some(())
        });
    }
    // What is left of the ghosts takes nothing with it.
    let last = networks.map(|network| two.endpoint(network, &format!("{network}-last")));
    let others = || {
        let ids = hosts_of(one).into_iter();
        ids.filter(|host| host["state"] == "up").count()
    };
    eventually(STEP, "the ghosts are down", || {
        (others() == 2).then_some(())
    });
    for (watcher, end) in watchers.iter().zip(&last) {
        assert!(watcher.netns.pings(end.ipv4()));
    }
}

#[test]
fn a_copy_of_a_host_stays_out_and_the_original_is_untouched() {
    let lab = Underlay::new(3);
    let [one, two, copy] = lab.hosts.as_slice() else {
        unreachable!()
    };
    super::gather(&[one, two]);
    super::create_shared_on(&[one, two], "far", &["--subnet", "10.9.0.0/24"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    let stream = super::traffic::Stream::start(&one.sandbox("a"), &two.sandbox("b"), two.ipv4("b"));
    stream.flows();
    copy.stop_agent(Signal::TERM);
    super::copy_identity(two, copy);
    copy.launch();
    eventually(STEP, "the copy is told", || {
        let log = copy.log();
        (log.contains("this state directory is a copy") && log.contains("192.0.2.2")).then_some(())
    });
    assert_eq!(cluster_of(copy)["in_step"], false);
    let doctor = copy.tapestry(&["doctor"]).stdout;
    assert!(
        doctor.contains("fail  copy: another agent, at 192.0.2.2, is host "),
        "{doctor}"
    );
    assert!(stream.stall(Duration::from_secs(4)) < Duration::from_secs(1));
    let id = cluster_of(two)["host"].clone();
    let of_two = |host: &Host| hosts_of(host).into_iter().find(|host| host["id"] == id);
    assert_eq!(of_two(one).unwrap()["address"], "192.0.2.2");
    // The copy leaves, and the original does not.
    copy.tapestry(&["cluster", "leave"]).ok();
    assert_eq!(cluster_of(two)["in_step"], true);
    assert_eq!(of_two(one).unwrap()["state"], "up");
    reaches(one, "a", "b");
    join(one, copy).ok();
    eventually(STEP, "it is a host of its own", || {
        (hosts_of(one).len() == 3).then_some(())
    });
}
