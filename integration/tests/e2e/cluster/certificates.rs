//! Certificates: how long they last, and what comes after.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use super::traffic::Stream;
use super::{
    STEP, Underlay, cluster_of, create_shared, create_shared_on, gather, hosts_of, join, reaches,
    token,
};
use crate::harness::{Host, eventually};

/// Hosts with running agents, whose certificates last so long.
fn hosts(count: usize, certificate_s: u64) -> Underlay {
    let lab = Underlay::without_agents(count);
    for host in &lab.hosts {
        let config = host.dir().join("agent.toml");
        let mut config = fs::File::options().append(true).open(config).unwrap();
        writeln!(config, "certificate_s = {certificate_s}").unwrap();
        host.launch();
    }
    lab
}

fn until_s(host: &Host) -> u64 {
    cluster_of(host)["certificate_until_s"].as_u64().unwrap()
}

fn wait_until(time_s: u64) {
    let time = UNIX_EPOCH + Duration::from_secs(time_s);
    let left = time.duration_since(SystemTime::now());
    std::thread::sleep(left.unwrap_or_default());
}

#[test]
fn certificates_are_renewed_before_they_end() {
    let lab = hosts(2, 8);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
        .ok();
    join(one, two).ok();
    let first = [two, one].map(|host| (host, until_s(host)));
    for (host, first_s) in first {
        eventually(Duration::from_secs(20), "a newer certificate", || {
            (until_s(host) > first_s).then_some(())
        });
    }
    // Past the end of the certificates that connections began with.
    let end_s = first.iter().map(|(_, until_s)| *until_s).max().unwrap();
    wait_until(end_s + 1);
    for host in &lab.hosts {
        assert_eq!(cluster_of(host)["in_step"], true);
    }
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
}

#[test]
fn hosts_that_were_off_for_two_lives_of_their_certificates_come_back_by_themselves() {
    const LIFE_S: u64 = 5;
    let lab = hosts(3, LIFE_S);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    gather(&[one, two, three]);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    one.idle("a", "far", &[]);
    three.idle("c", "far", &[]);
    reaches(three, "c", "a");
    // The one that signs, and one that does not; the third runs on.
    one.stop_agent(Signal::TERM);
    two.stop_agent(Signal::TERM);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let over_s = now.as_secs() + 2 * LIFE_S + 1;
    wait_until(over_s);
    assert!(until_s(three) < over_s, "nobody renewed");
    for host in [two, one] {
        host.launch();
    }
    for host in &lab.hosts {
        eventually(Duration::from_secs(5), "it is back", || {
            (cluster_of(host)["in_step"] == true && until_s(host) > over_s).then_some(())
        });
    }
    reaches(three, "c", "a");
    two.idle("b", "far", &[]);
    reaches(two, "b", "c");
}

/// The CAs that a host trusts.
fn trusted(host: &Host) -> Vec<String> {
    let text = fs::read_to_string(host.state_dir().join("cluster/ca.pem")).unwrap();
    let cas = text.split_inclusive("-----END CERTIFICATE-----\n");
    cas.map(str::to_owned).collect()
}

#[test]
fn a_ca_is_rotated_under_load_and_a_host_that_was_off_comes_back() {
    let lab = hosts(4, 3600);
    let [one, two, three, four] = lab.hosts.as_slice() else {
        unreachable!()
    };
    gather(&[one, two, three]);
    create_shared_on(&[one, two, three], "far", &["--subnet", "10.9.0.0/24"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    let (old, old_token) = (trusted(one), token(one));
    let refused = two.tapestry(&["cluster", "ca", "rotate"]).refused(1);
    assert!(refused.contains("no manager"), "{refused}");
    let refused = one
        .tapestry(&["cluster", "ca", "rotate", "--finish"])
        .refused(1);
    assert!(refused.contains("not being rotated"), "{refused}");
    three.stop_agent(Signal::TERM);
    eventually(STEP, "it is down", || {
        let hosts = hosts_of(one);
        hosts
            .iter()
            .any(|host| host["state"] == "down")
            .then_some(())
    });

    let stream = Stream::start(&one.sandbox("a"), &two.sandbox("b"), two.ipv4("b"));
    stream.flows();
    let stall = std::thread::scope(|scope| {
        let stall = scope.spawn(|| stream.stall(Duration::from_secs(12)));
        // One host cannot renew, so that the rotation stays where it is: only its connection to the store goes on.
        two.netns.sh("nft add table inet fault
             nft add chain inet fault out '{ type filter hook output priority -300; }'
             nft add rule inet fault out tcp dport 4790 tcp flags '& (syn | ack) == syn' reject with tcp reset");
        one.tapestry(&["cluster", "ca", "rotate"]).ok();
        for host in [one, two] {
            eventually(STEP, "both are trusted", || {
                (trusted(host).len() == 2).then_some(())
            });
            assert_eq!(trusted(host)[1], old[0]);
        }
        let again = one.tapestry(&["cluster", "ca", "rotate"]).refused(1);
        assert!(again.contains("is being rotated"), "{again}");
        eventually(STEP, "it is shown how far that is", || {
            let listed = one.tapestry(&["cluster", "ls"]).ok();
            listed.contains("1 of 2 hosts that are up").then_some(())
        });
        one.kill_agent_proper();
        eventually(STEP, "it goes on where it was", || {
            let rotation = &cluster_of(one)["ca"]["rotation"];
            (rotation["renewed"] == 1 && rotation["up"] == 2).then_some(())
        });
        two.netns.sh("nft delete table inet fault");
        for host in [one, two] {
            eventually(STEP, "the new one alone is trusted", || {
                let trusted = trusted(host);
                (trusted.len() == 1 && trusted != old).then_some(())
            });
        }
        stall.join().unwrap()
    });
    assert!(stall < Duration::from_secs(2), "{stall:?}");
    stream.flows();
    assert_eq!(trusted(one), trusted(two));
    assert!(cluster_of(one)["ca"]["rotation"].is_null());
    let keys = fs::read_dir(one.state_dir().join("cluster"))
        .unwrap()
        .flatten();
    let keys = keys.filter(|file| file.file_name().to_string_lossy().starts_with("ca-"));
    assert_eq!(keys.count(), 0, "keys of CAs that do not sign");

    three.launch();
    eventually(STEP, "the host that was off is back", || {
        (cluster_of(three)["in_step"] == true && trusted(three) == trusted(one)).then_some(())
    });
    three.idle("c", "far", &[]);
    reaches(three, "c", "a");
    reaches(three, "c", "b");
    let late = four.tapestry(&["cluster", "join", &old_token, "192.0.2.1"]);
    let late = late.refused(1);
    assert!(
        late.contains("before the cluster's CA was rotated"),
        "{late}"
    );
    join(one, four).ok();
    assert_eq!(trusted(four), trusted(one));
}
