//! Who belongs to a cluster, and what proves it.

use std::fs;
use std::time::Duration;

use super::{STEP, Tries, Underlay, cluster, cluster_of, hosts_of, join, pair, token, tunnels};
use crate::harness::eventually;

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
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "revoke", "host-2"]).ok();
    eventually(STEP, "its tunnel is closed", || {
        tunnels(one, "far").is_empty().then_some(())
    });
    eventually(STEP, "it reaches the store no more", || {
        (cluster_of(two)["in_step"] == false).then_some(())
    });
    Tries::count(two, 4790).wait_for(3);
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
