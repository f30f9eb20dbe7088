//! Managers that are lost for good, and what is kept against that.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::etcd::is_in_step;
use super::traffic::Stream;
use super::{
    STEP, Underlay, cluster, cluster_of, create_shared_on, gather, hosts_of, join, reaches, token,
};
use crate::harness::{Host, eventually};

/// A backup that a manager made, in a file of the host's own.
fn back_up(manager: &Host) -> PathBuf {
    let file = manager.dir().join("cluster.backup");
    let made = manager.tapestry(&["cluster", "backup", file.to_str().unwrap()]);
    assert_eq!((made.status, made.stdout.as_str()), (0, ""), "{made:?}");
    assert!(made.stderr.contains("the CA's key"), "{made:?}");
    file
}

fn restore(host: &Host, file: &std::path::Path, more: &[&str]) -> crate::harness::Output {
    let restore = ["cluster", "restore", file.to_str().unwrap()];
    host.tapestry(&[&restore[..], more].concat())
}

/// Waits until `hosts` see these hosts up, and no other.
fn all_see(hosts: &[&Host], names: &[&str]) {
    for host in hosts {
        eventually(STEP * 3, &format!("{names:?} are up"), || {
            let mut up: Vec<_> = hosts_of(host)
                .into_iter()
                .filter(|seen| seen["state"] == "up")
                .map(|seen| seen["name"].as_str().unwrap().to_owned())
                .collect();
            up.sort();
            (is_in_step(host) && up == names).then_some(())
        });
    }
}

fn joined_s(host: &Host, name: &str) -> Value {
    let hosts = hosts_of(host).into_iter();
    let mut found = hosts.filter(|seen| seen["name"] == name);
    found.next().unwrap()["joined_s"].clone()
}

#[test]
fn a_founder_that_is_lost_for_good_is_replaced_and_frames_never_stop() {
    let lab = Underlay::new(5);
    let [one, two, three, four, five] = lab.hosts.as_slice() else {
        unreachable!()
    };
    gather(&[one, two, three]);
    let members = [one, two, three];
    create_shared_on(&members, "far", &["--subnet", "10.9.0.0/24"]);
    two.idle("b", "far", &[]);
    three.idle("c", "far", &[]);
    let backup = back_up(one);
    // What the backup knows nothing of.
    join(one, four).ok();
    create_shared_on(
        &[one, two, three, four],
        "late",
        &["--subnet", "10.8.0.0/24"],
    );
    three.idle("late-c", "late", &[]);
    four.idle("late-d", "late", &[]);
    reaches(two, "b", "c");
    reaches(four, "late-d", "late-c");
    std::thread::sleep(Duration::from_secs(1));
    let joined = joined_s(two, "host-4");
    let stream = |from: (&Host, &str), to: (&Host, &str)| {
        Stream::start(
            &from.0.sandbox(from.1),
            &to.0.sandbox(to.1),
            to.0.ipv4(to.1),
        )
    };
    let old = stream((two, "b"), (three, "c"));
    let new = stream((four, "late-d"), (three, "late-c"));
    let lost = Instant::now();
    lab.netns.sh("ip link set port1 down");
    let stall = old.stall_while(|| {
        let stall = new.stall_while(|| {
            restore(five, &backup, &["--advertise", "192.0.2.5"]).ok();
            for member in [two, three, four] {
                member.tapestry(&["cluster", "managers", "192.0.2.5"]).ok();
            }
            let names = ["host-2", "host-3", "host-4", "host-5"];
            all_see(&[two, three, four, five], &names);
            eventually(STEP, "every network is there", || {
                let names = five.networks().into_iter().map(|network| network.name);
                let names: Vec<_> = names.collect();
                ["far", "late"]
                    .iter()
                    .all(|name| names.iter().any(|it| it == name))
                    .then_some(())
            });
        });
        assert!(stall < Duration::from_secs(2), "late: {stall:?}");
    });
    assert!(stall < Duration::from_secs(2), "{stall:?}");
    assert!(
        lost.elapsed() < Duration::from_secs(60),
        "{:?}",
        lost.elapsed()
    );
    assert_eq!(joined_s(five, "host-4"), joined, "it joined when it did");
    // All that is asked of a manager works, and of members.
    create_shared_on(&[two, three, four, five], "next", &[]);
    five.idle("e", "far", &[]);
    reaches(five, "e", "b");
    reaches(four, "late-d", "late-c");
    // The founder comes back with its own store, and splits nothing.
    lab.netns.sh("ip link set port1 up");
    for stream in [&old, &new] {
        let stall = stream.stall(Duration::from_secs(3));
        assert!(stall < Duration::from_secs(2), "{stall:?}");
    }
    all_see(
        &[two, three, four, five],
        &["host-2", "host-3", "host-4", "host-5"],
    );
    assert_eq!(hosts_of(five).len(), 4);
    for member in [two, three, four, five] {
        member.tapestry(&["network", "inspect", "next"]).ok();
    }
}

#[test]
fn a_manager_is_restored_in_its_old_place_and_members_find_it() {
    let lab = cluster(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    create_shared_on(&[one, two], "far", &["--subnet", "10.9.0.0/24"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(two, "b", "a");
    let backup = back_up(one);
    let (id, address) = (cluster_of(one)["id"].clone(), one.ipv4("a"));
    one.stop_agent(Signal::TERM);
    fs::remove_dir_all(one.state_dir().join("cluster")).unwrap();
    one.launch();
    restore(one, &backup, &["--advertise", "192.0.2.1"]).ok();
    all_see(&[one, two], &["host-1", "host-2"]);
    for host in [one, two] {
        assert_eq!(cluster_of(host)["id"], id);
    }
    // A container that ran on all the while is reached as it was.
    reaches(two, "b", "a");
    reaches(one, "a", "b");
    assert_eq!(one.ipv4("a"), address);
    let again = restore(one, &backup, &[]).refused(1);
    assert!(again.contains("already"), "{again}");
}

#[test]
fn a_backup_is_a_secret_and_what_is_none_is_refused() {
    let lab = Underlay::new(3);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let none = one.tapestry(&["cluster", "backup", "-"]).refused(1);
    assert!(none.contains("cluster init"), "{none}");
    gather(&[one, two]);
    let backup = back_up(one);
    let mode = fs::metadata(&backup).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = fs::read_to_string(&backup).unwrap();
    assert!(text.contains("PRIVATE KEY"));
    let printed = one.tapestry(&["cluster", "backup", "-"]);
    assert!(
        printed
            .stdout
            .starts_with("tapestry cluster backup 1 sha256:")
    );
    assert!(!one.log().contains("PRIVATE KEY"));
    let member = two.tapestry(&["cluster", "backup", "-"]).refused(1);
    assert!(
        member.contains("run `tapestry cluster backup` on one: host-1"),
        "{member}"
    );
    let directory = one.dir().to_str().unwrap();
    let refused = one.tapestry(&["cluster", "backup", directory]).refused(1);
    assert!(refused.contains("no regular file"), "{refused}");

    let other = three.dir().join("other");
    let refused = |text: &str| {
        fs::write(&other, text).unwrap();
        let said = restore(three, &other, &["--advertise", "192.0.2.3"]).refused(1);
        assert_eq!(said.trim().lines().count(), 1, "{said}");
        assert!(!three.state_dir().join("cluster").exists(), "half-made");
        said
    };
    for (text, words) in [
        (String::new(), "this is no backup"),
        ("{}".to_owned(), "this is no backup"),
        (text[..text.len() / 2].to_owned(), "damaged"),
        (text.replacen("192.0.2.2", "192.0.2.3", 1), "checksum"),
        (text.replacen("backup 1 ", "backup 9 ", 1), "version 9"),
        (
            text.clone(),
            "a manager of this cluster answers at 192.0.2.1:4790",
        ),
    ] {
        let said = refused(&text);
        assert!(said.contains(words), "{words}: {said}");
    }
    let gone = restore(three, &three.dir().join("gone"), &[]).refused(1);
    assert!(gone.contains("cannot read the backup"), "{gone}");
    let member = restore(two, &backup, &[]).refused(1);
    assert!(member.contains("is in cluster"), "{member}");
    fs::create_dir(three.state_dir().join("cluster")).unwrap();
    fs::write(three.state_dir().join("cluster/ca.key"), "").unwrap();
    for verb in [&["restore", backup.to_str().unwrap()][..], &["init"]] {
        let left = three
            .tapestry(&[&["cluster"][..], verb].concat())
            .refused(1);
        assert!(left.contains("move it away"), "{left}");
    }
    // Members are told only of managers of their own cluster.
    for (address, words) in [("192.0.2.3", "cannot reach"), ("192.0.2.1", "")] {
        let pointed = two.tapestry(&["cluster", "managers", address]);
        assert_eq!(pointed.status == 0, words.is_empty(), "{pointed:?}");
        assert!(pointed.stderr.contains(words), "{pointed:?}");
    }
    let manager = one
        .tapestry(&["cluster", "managers", "192.0.2.1"])
        .refused(1);
    assert!(manager.contains("is a manager itself"), "{manager}");
}

#[test]
fn a_dead_host_is_removed_with_all_that_it_held() {
    let lab = cluster(3);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    // Of its five addresses, all are somebody's.
    let range = ["--subnet", "10.9.0.0/29"];
    create_shared_on(&[one, two, three], "far", &range);
    two.idle("b", "far", &[]);
    three.idle("c", "far", &[]);
    let refused = |host: &Host, called: &str| host.tapestry(&["cluster", "rm", called]).refused(1);
    let alive = refused(one, "host-2");
    assert!(alive.contains("host-2 is alive"), "{alive}");
    let itself = refused(one, "host-1");
    assert!(itself.contains("cannot remove itself"), "{itself}");
    let member = refused(three, "host-2");
    assert!(member.contains("on one: host-1"), "{member}");
    let unknown = refused(one, "host-9");
    assert!(unknown.contains("no host"), "{unknown}");

    two.kill_both();
    lab.netns.sh("ip link set port2 down");
    eventually(STEP, "it is down", || {
        let mut hosts = hosts_of(one).into_iter();
        hosts
            .any(|host| host["name"] == "host-2" && host["state"] == "down")
            .then_some(())
    });
    let told = one.tapestry(&["cluster", "rm", "host-2"]).ok();
    assert!(told.starts_with("host-2 (a0"), "{told}");
    assert!(
        !told.contains(" 0 blocks") && told.contains("1 certificate."),
        "{told}"
    );
    for host in [one, three] {
        eventually(STEP, "it is forgotten", || {
            (hosts_of(host).len() == 2).then_some(())
        });
    }
    // Its addresses are for others.
    for n in 0..4 {
        one.idle(&format!("n{n}"), "far", &[]);
    }
    // And it is not let in with what it has.
    lab.netns.sh("ip link set port2 up");
    two.launch();
    std::thread::sleep(Duration::from_secs(2));
    assert!(!is_in_step(two));
    assert_eq!(hosts_of(one).len(), 2);
    let token = token(one);
    two.tapestry(&["rm", "-f", "b"]).ok();
    two.tapestry(&["cluster", "leave"]).ok();
    two.tapestry(&["cluster", "join", &token, "192.0.2.1"]).ok();
    all_see(&[one, two, three], &["host-1", "host-2", "host-3"]);
}
