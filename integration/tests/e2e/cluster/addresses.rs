//! Addresses of a network that hosts share: each host gives out those of its own blocks.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use rustix::process::Signal;

use super::etcd::{Etcd, drop_out, finds, is_in_step};
use super::traffic::Stream;
use super::{LEASE, STEP, Underlay, cluster, create_shared, join, pair, reaches};
use crate::harness::{Endpoint, eventually};

fn next_to(address: IpAddr) -> IpAddr {
    let IpAddr::V4(address) = address else {
        unreachable!()
    };
    // Neighbours in a block of two addresses at least.
    Ipv4Addr::from_bits(address.to_bits() ^ 1).into()
}

#[test]
fn a_host_whose_lease_ended_keeps_its_addresses_and_starts_ten_containers_meanwhile() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let stream = Stream::start(&one.sandbox("a"), &two.sandbox("b"), two.ipv4("b"));
    stream.flows();
    two.netns.sh(&drop_out("tcp dport 4790"));
    std::thread::scope(|scope| {
        // 12 s: four leases.
        let stall = scope.spawn(|| stream.stall(LEASE * 4));
        eventually(STEP, "etcd is missed", || (!is_in_step(two)).then_some(()));
        let late = scope.spawn(|| (0..10).for_each(|n| two.idle(&format!("late{n}"), "far", &[])));
        (0..3).for_each(|n| one.idle(&format!("new{n}"), "far", &[]));
        late.join().unwrap();
        let stall = stall.join().unwrap();
        assert!(stall < LEASE / 2, "{stall:?}");
    });
    assert!(is_in_step(one) && !is_in_step(two));
    assert!(finds(one, "a", "b"), "its lease ended, its tunnel did not");
    one.idle("new3", "far", &[]);
    two.netns.sh("nft delete table inet fault");
    eventually(STEP, "the other is in step again", || {
        (is_in_step(two) && finds(one, "a", "late9")).then_some(())
    });
    let (new, late) = (
        (0..4).map(|n| one.ipv4(&format!("new{n}"))),
        (0..10).map(|n| two.ipv4(&format!("late{n}"))),
    );
    let old = [one.ipv4("a"), two.ipv4("b")];
    let addresses: BTreeSet<_> = new.chain(late).chain(old).collect();
    assert_eq!(addresses.len(), 16);
    reaches(one, "new3", "late9");
    reaches(two, "b", "new0");
    for host in [one, two] {
        let shown = host.tapestry(&["ps"]).ok();
        assert!(!shown.contains("Cut off"), "{shown}");
    }
}

#[test]
fn a_mac_that_was_chosen_on_two_hosts_is_whose_was_told_first_and_both_stay_in_step() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let wish = ["--mac-address", "02:00:00:00:00:07"];
    let is_cut_off = || two.tapestry(&["ps"]).ok().contains("Cut off");
    two.netns.sh(&drop_out("tcp dport 4790"));
    eventually(STEP, "the store is missed", || {
        (!is_in_step(two)).then_some(())
    });
    one.idle("c", "far", &wish);
    two.idle("d", "far", &wish);
    two.netns.sh("nft delete table inet fault");
    eventually(STEP, "the second one has no part in the network", || {
        (is_in_step(two) && is_cut_off()).then_some(())
    });
    reaches(one, "a", "c");
    one.tapestry(&["rm", "-f", "c"]).ok();
    eventually(STEP, "it has the MAC when the first one is gone", || {
        (is_in_step(two) && !is_cut_off() && finds(one, "a", "d")).then_some(())
    });
    reaches(one, "a", "d");
    let run = ["run", "-d", "--name", "e", "--network", "far"];
    let tail = ["--", "sleep", "1000"];
    let said = one
        .tapestry(&[&run[..], &wish, &tail].concat())
        .refused(125);
    assert!(said.contains("taken by \"d\""), "{said}");
}

#[test]
fn an_address_of_another_hosts_block_is_asked_of_that_host() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let (taken, free) = (two.ipv4("b"), next_to(two.ipv4("b")));
    let run = |name: &str, address: IpAddr| {
        let run = ["run", "-d", "--name", name, "--network", "far"];
        let address = address.to_string();
        let tail = ["--ip", &address, "--", "sleep", "1000"];
        one.tapestry(&[&run[..], &tail].concat())
    };
    run("c", free).ok();
    assert_eq!(one.ipv4("c"), free);
    reaches(two, "b", "c");
    let said = run("d", taken).refused(125);
    assert!(said.contains("taken by b on host-2"), "{said}");
    two.idle("e", "far", &[]);
    assert!(![taken, free].contains(&two.ipv4("e")));
    let unused = next_to(two.ipv4("e"));
    two.stop_agent(Signal::KILL);
    let said = run("d", unused).refused(125);
    assert!(
        said.contains(&format!("{unused} is in a block of host-2")),
        "{said}"
    );
    one.idle("d", "far", &[]);
    two.launch();
    reaches(two, "b", "d");
}

#[test]
fn three_hosts_use_a_small_range_to_its_last_address() {
    let lab = cluster(3);
    create_shared(&lab, "small", &["--subnet", "10.9.7.0/27"]);
    let attached: Vec<_> = (0..29)
        .map(|n| lab.hosts[n % 3].endpoint("small", &format!("e{n}")))
        .collect();
    let addresses: BTreeSet<_> = attached.iter().map(Endpoint::ipv4).collect();
    assert_eq!(addresses.len(), 29);
    let run = ["run", "--rm", "--network", "small", "--", "true"];
    let said = lab.hosts[0].tapestry(&run).refused(125);
    for number in 1..=3 {
        assert!(said.contains(&format!("host-{number} has ")), "{said}");
    }
}

/// Two hosts beside an etcd that goes back to what it had before: blocks are given to another host then.
#[test]
fn who_lost_an_address_to_an_old_backup_gets_another_or_is_shown_cut_off() {
    let lab = Underlay::new(2);
    let mut etcd = Etcd::start(&lab);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let init = ["cluster", "init", "--advertise", "192.0.2.1", "--etcd"];
    one.tapestry(&[&init[..], &[Etcd::URL]].concat()).ok();
    join(one, two).ok();
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/28"]);
    one.idle("a", "far", &[]);
    etcd.stop();
    let backup = etcd.copy();
    etcd.start_again();
    eventually(STEP, "both are in step", || {
        (is_in_step(one) && is_in_step(two)).then_some(())
    });
    two.idle("chosen", "far", &["--ip", "10.9.0.14"]);
    (0..6).for_each(|n| two.idle(&format!("b{n}"), "far", &[]));
    // Of its last block nobody had heard when the backup was made.
    let (chosen, lost) = (two.ipv4("chosen"), two.ipv4("b5"));
    two.netns.sh("ip link set under0 down");
    etcd.stop();
    etcd.set_back(backup);
    etcd.start_again();
    eventually(STEP * 2, "the other host is given up", || {
        (is_in_step(one) && !finds(one, "a", "b5")).then_some(())
    });
    for (name, address) in [("c", chosen), ("d", lost)] {
        one.idle(name, "far", &["--ip", &address.to_string()]);
    }
    two.netns.sh("ip link set under0 up");
    eventually(STEP, "the other host is in step", || {
        is_in_step(two).then_some(())
    });
    eventually(STEP, "who did not choose an address gets another", || {
        let now = two
            .container("b5")
            .endpoints
            .first()?
            .addresses
            .first()?
            .addr();
        (now != lost).then_some(())
    });
    reaches(one, "d", &two.ipv4("b5").to_string());
    let cut_off = eventually(STEP, "who did is shown", || {
        two.container("chosen").endpoints.first()?.cut_off.clone()
    });
    assert!(cut_off.contains("block of host-1"), "{cut_off}");
    let shown = two.tapestry(&["ps", "--no-trunc"]).ok();
    let line = |name: &str| {
        let mut lines = shown.lines();
        lines.find(|line| line.split_whitespace().any(|word| word == name))
    };
    let line = |name| line(name).unwrap_or_else(|| panic!("no {name} in {shown}"));
    assert!(line("chosen").contains("Cut off"), "{shown}");
    assert!(line("b5").contains("Up "), "{shown}");
    let told = two.tapestry(&["doctor"]).stdout;
    assert!(told.contains("cut off from network"), "{told}");
    // Nobody is disturbed, and it comes back when the address is free.
    reaches(one, "c", "b5");
    one.tapestry(&["rm", "-f", "c"]).ok();
    two.tapestry(&["network", "disconnect", "far", "chosen"])
        .ok();
    eventually(STEP, "the address is free", || {
        let connect = ["network", "connect", "--ip", "10.9.0.14", "far", "chosen"];
        (two.tapestry(&connect).status == 0).then_some(())
    });
    reaches(one, "d", "chosen");
}
