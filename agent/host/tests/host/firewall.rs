//! The packet filter beside those of others.

use std::time::{Duration, Instant};

use agent_api::TransportProtocol;
use agent_core::firewall::{NetworkRules, Published, Rules};
use agent_host::firewall::{Disturbance, Firewall, FirewallWatch, diagnose};

use super::{ip, netns, run, try_run, within};

pub(crate) fn rules() -> Rules {
    Rules {
        networks: vec![NetworkRules {
            host_link: "tsya".into(),
            subnets: vec![
                "172.17.0.0/16".parse().unwrap(),
                "fd00:1::/64".parse().unwrap(),
            ],
            gateways: vec!["172.17.0.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
            masquerade: true,
            anti_spoof: true,
            lan: false,
            routed_by: None,
        }],
        published: vec![
            Published {
                protocol: TransportProtocol::Tcp,
                host_ip: None,
                host_port: 8080,
                container: "172.17.0.2:80".parse().unwrap(),
                ports: 1,
            },
            Published {
                protocol: TransportProtocol::Udp,
                host_ip: Some("fd00:9::1".parse().unwrap()),
                host_port: 53,
                container: "[fd00:1::2]:53".parse().unwrap(),
                ports: 1,
            },
        ],
        ..Rules::default()
    }
}

/// Docker's chains as dockerd makes them through iptables.
pub(crate) fn docker_chains(iptables: &str) {
    for arguments in [
        "-P FORWARD DROP",
        "-N DOCKER-USER",
        "-A DOCKER-USER -j RETURN",
        "-I FORWARD -j DOCKER-USER",
    ] {
        run(&format!("{iptables} {arguments}"));
    }
}

fn next_within(watch: &mut FirewallWatch, limit: Duration) -> Option<Disturbance> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(disturbance) = watch.try_next() {
            return Some(disturbance);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

#[test]
fn applying_twice_leaves_one_table_and_removing_leaves_none() {
    within(&netns(), || {
        let firewall = Firewall::find().unwrap();
        firewall.remove().unwrap();
        firewall.apply(&rules()).unwrap();
        let once = run("nft list ruleset");
        firewall.apply(&rules()).unwrap();
        assert_eq!(once, run("nft list ruleset"));
        assert!(once.contains("8080 : 172.17.0.2 . 80"), "{once}");
        firewall.remove().unwrap();
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn tables_of_others_stay_as_they_are() {
    within(&netns(), || {
        run("nft add table inet theirs");
        run(
            "nft add chain inet theirs input { type filter hook input priority 0 ; policy accept ; }",
        );
        run("iptables -t nat -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE");
        let before = run("nft list ruleset");
        let firewall = Firewall::find().unwrap();
        firewall.apply(&rules()).unwrap();
        firewall.remove().unwrap();
        assert_eq!(before, run("nft list ruleset"));
    });
}

#[test]
fn dockers_user_chains_get_one_rule_that_iptables_understands() {
    within(&netns(), || {
        docker_chains("iptables");
        docker_chains("ip6tables");
        let before = (run("iptables -S"), run("ip6tables -S"));
        let firewall = Firewall::find().unwrap();
        firewall.apply(&rules()).unwrap();
        firewall.apply(&rules()).unwrap();
        for iptables in ["iptables", "ip6tables"] {
            let listed = run(&format!("{iptables} -S DOCKER-USER"));
            let expected = "-N DOCKER-USER\n-A DOCKER-USER -m mark --mark 0x2000/0x2000 \
                            -m comment --comment tapestry -j ACCEPT\n-A DOCKER-USER -j RETURN\n";
            assert_eq!(listed, expected);
        }
        // As dockerd and other programs go on doing.
        run("iptables -A DOCKER-USER -s 10.1.1.1 -j DROP");
        run("iptables -D DOCKER-USER -s 10.1.1.1 -j DROP");
        firewall.remove().unwrap();
        assert_eq!(before, (run("iptables -S"), run("ip6tables -S")));
    });
}

#[test]
fn a_mark_bit_that_changed_leaves_no_old_rule() {
    within(&netns(), || {
        docker_chains("iptables");
        let firewall = Firewall::find().unwrap();
        firewall.apply(&rules()).unwrap();
        let other = Rules {
            mark_bit: 0x10,
            ..rules()
        };
        firewall.apply(&other).unwrap();
        let listed = run("iptables -S DOCKER-USER");
        assert!(
            listed.contains("0x10/0x10") && !listed.contains("0x2000"),
            "{listed}"
        );
    });
}

#[test]
fn two_callers_at_once_add_dockers_rule_once() {
    let netns = netns();
    within(&netns, || docker_chains("iptables"));
    let firewall = Firewall::find().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| within(&netns, || firewall.apply(&rules()).unwrap()));
        }
    });
    let listed = within(&netns, || run("iptables -S DOCKER-USER"));
    assert_eq!(listed.matches("tapestry").count(), 1, "{listed}");
}

#[test]
fn own_changes_are_no_disturbance() {
    within(&netns(), || {
        docker_chains("iptables");
        let firewall = Firewall::find().unwrap();
        let mut watch = firewall.watch().unwrap();
        for _ in 0..5 {
            firewall.apply(&rules()).unwrap();
        }
        firewall.remove().unwrap();
        run("nft add table inet theirs");
        assert_eq!(next_within(&mut watch, Duration::from_millis(500)), None);
    });
}

#[test]
fn a_flushed_ruleset_is_noticed_and_repaired_within_a_second() {
    within(&netns(), || {
        let firewall = Firewall::find().unwrap();
        let mut watch = firewall.watch().unwrap();
        firewall.apply(&rules()).unwrap();
        let whole = run("nft list ruleset");
        for _ in 0..3 {
            let start = Instant::now();
            run("nft flush ruleset");
            let noticed = next_within(&mut watch, Duration::from_secs(1));
            assert_eq!(noticed, Some(Disturbance::OurTable));
            firewall.apply(&rules()).unwrap();
            assert!(start.elapsed() < Duration::from_secs(1));
            assert_eq!(whole, run("nft list ruleset"));
        }
        assert_eq!(next_within(&mut watch, Duration::from_millis(400)), None);
    });
}

#[test]
fn a_changed_rule_in_our_table_is_noticed() {
    within(&netns(), || {
        let firewall = Firewall::find().unwrap();
        firewall.apply(&rules()).unwrap();
        let mut watch = firewall.watch().unwrap();
        run("nft flush chain inet tapestry forward");
        let noticed = next_within(&mut watch, Duration::from_secs(1));
        assert_eq!(noticed, Some(Disturbance::OurTable));
    });
}

#[test]
fn docker_that_starts_later_is_noticed() {
    within(&netns(), || {
        let firewall = Firewall::find().unwrap();
        firewall.apply(&rules()).unwrap();
        let mut watch = firewall.watch().unwrap();
        docker_chains("iptables");
        let noticed = next_within(&mut watch, Duration::from_secs(1));
        assert_eq!(noticed, Some(Disturbance::DockerUser));
        firewall.apply(&rules()).unwrap();
        assert!(run("iptables -S DOCKER-USER").contains("tapestry"));
        run("iptables -F DOCKER-USER");
        let noticed = next_within(&mut watch, Duration::from_secs(1));
        assert_eq!(noticed, Some(Disturbance::DockerUser));
    });
}

#[test]
fn dropping_a_watch_ends_its_thread() {
    within(&netns(), || {
        let watch = Firewall::find().unwrap().watch().unwrap();
        drop(watch);
        let gone = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !threads().contains("nft-watch")
        });
        assert!(gone || other_tests_watch(), "{}", threads());
    });
}

#[test]
fn what_would_block_us_is_found() {
    within(&netns(), || {
        run("nft add table inet strict");
        run(
            "nft add chain inet strict forward { type filter hook forward priority 0 ; policy drop ; }",
        );
        let whats: Vec<String> = diagnose().into_iter().map(|found| found.what).collect();
        let strict = "chain forward of table inet strict drops forwarded packets";
        assert!(whats.iter().any(|what| what == strict), "{whats:?}");
        assert!(
            whats
                .iter()
                .any(|what| what.contains("IPv4 forwarding is off")),
            "{whats:?}"
        );
        docker_chains("iptables");
        let whats: Vec<String> = diagnose().into_iter().map(|found| found.what).collect();
        assert!(
            !whats.iter().any(|what| what.contains("table ip filter")),
            "{whats:?}"
        );
        assert!(
            try_run("nft list table inet tapestry")
                .1
                .contains("No such file")
        );
    });
}

#[test]
fn firewalld_is_asked_to_trust_our_links_once_and_again_after_its_reload() {
    use std::os::unix::fs::PermissionsExt;
    within(&netns(), || {
        let dir = tempfile::tempdir().unwrap();
        let (program, log) = (dir.path().join("firewall-cmd"), dir.path().join("log"));
        let script = format!("#!/bin/sh\necho \"$@\" >> {}\n", log.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let asked = || std::fs::read_to_string(&log).unwrap_or_default();
        let firewall = Firewall::find().unwrap().with_firewall_cmd(program);
        let mut watch = firewall.watch().unwrap();
        firewall.apply(&rules()).unwrap();
        assert_eq!(asked(), "");
        let reload = "nft add table inet firewalld ; add chain inet firewalld filter_FORWARD";
        run(reload);
        let noticed = next_within(&mut watch, Duration::from_secs(1));
        assert_eq!(noticed, Some(Disturbance::Firewalld));
        firewall.apply(&rules()).unwrap();
        firewall.apply(&rules()).unwrap();
        let once = "--zone=trusted --change-interface=tsya\n";
        assert_eq!(asked(), once);
        run("nft delete table inet firewalld");
        run(reload);
        assert!(next_within(&mut watch, Duration::from_secs(1)).is_some());
        firewall.apply(&rules()).unwrap();
        assert_eq!(asked(), format!("{once}{once}"));
        // In two steps, as firewalld makes them, with a look in between.
        let [table, chain] = [
            "nft add table inet firewalld",
            "nft add chain inet firewalld filter_FORWARD",
        ];
        run("nft delete table inet firewalld");
        for step in [table, chain] {
            run(step);
            assert!(next_within(&mut watch, Duration::from_secs(1)).is_some());
            firewall.apply(&rules()).unwrap();
        }
        assert_eq!(asked(), once.repeat(3));
    });
}

#[test]
fn who_only_looks_waits_for_no_change() {
    use std::os::unix::fs::PermissionsExt;
    within(&netns(), || {
        let dir = tempfile::tempdir().unwrap();
        let (program, gate) = (dir.path().join("firewall-cmd"), dir.path().join("gate"));
        run(&format!("mkfifo {}", gate.display()));
        // Says that it runs, and waits to be let go on.
        let script = format!("#!/bin/sh\necho > {0}\ncat {0}\n", gate.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        run("nft add table inet firewalld ; add chain inet firewalld filter_FORWARD");
        let firewall = Firewall::find().unwrap().with_firewall_cmd(program);
        std::thread::scope(|scope| {
            let change = scope.spawn(|| firewall.apply(&rules()));
            std::fs::read(&gate).unwrap();
            firewall.drops();
            assert!(!firewall.is_beside_docker());
            firewall.lead_loopback(&rules().networks[0], &rules().published);
            firewall.forget_addresses(&[ip("172.17.0.2")]);
            assert!(!change.is_finished());
            std::fs::write(&gate, "").unwrap();
            change.join().unwrap().unwrap();
        });
    });
}

#[test]
fn a_thousand_networks_are_applied_in_a_moment() {
    within(&netns(), || {
        let networks = (0..1000_u16).map(|number| NetworkRules {
            host_link: format!("tsy{number:010x}"),
            subnets: vec![
                format!("10.{}.{}.0/24", number >> 8, number & 0xff)
                    .parse()
                    .unwrap(),
                format!("fd00:1:1:{number:x}::/64").parse().unwrap(),
            ],
            gateways: vec![
                format!("10.{}.{}.1", number >> 8, number & 0xff)
                    .parse()
                    .unwrap(),
                format!("fd00:1:1:{number:x}::1").parse().unwrap(),
            ],
            masquerade: true,
            anti_spoof: true,
            lan: false,
            routed_by: None,
        });
        let published = (0..1000_u16).map(|number| Published {
            protocol: TransportProtocol::Tcp,
            host_ip: None,
            host_port: 20_000 + number,
            container: "10.0.0.2:80".parse().unwrap(),
            ports: 1,
        });
        let many = Rules {
            networks: networks.collect(),
            published: published.collect(),
            ..Rules::default()
        };
        let firewall = Firewall::find().unwrap();
        for _ in 0..2 {
            let start = Instant::now();
            firewall.apply(&many).unwrap();
            println!("1000 networks: {:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        let start = Instant::now();
        firewall.apply(&rules()).unwrap();
        println!("1 network: {:?}", start.elapsed());
    });
}

fn threads() -> String {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .collect()
}

/// Under `cargo test` the tests share a process; under nextest each has its own.
fn other_tests_watch() -> bool {
    std::env::var_os("NEXTEST").is_none()
}
