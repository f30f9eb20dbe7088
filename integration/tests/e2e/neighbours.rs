//! Others on the same host: Docker's firewall, reloads, other bridges. Nothing of theirs is touched.

use std::time::Duration;

use crate::harness::{Host, OUTSIDE_IP, eventually};

#[test]
fn containers_reach_outside_where_docker_drops_forwarding() {
    let host = beside_docker();
    host.idle("one", "bridge", &[]);
    host.exec("one", &format!("ping -n -c2 -W2 {OUTSIDE_IP}"))
        .ok();
}

#[test]
fn one_rule_in_docker_user_and_it_goes_again() {
    let host = beside_docker();
    let chain = "nft -s list chain ip filter DOCKER-USER";
    host.idle("one", "bridge", &[]);
    let during = host.netns.sh(chain);
    assert!(
        during.contains("tsy") || during.contains("tapestry"),
        "our rule: {during}"
    );
    host.tapestry(&["rm", "-f", "one"]).ok();
    host.stop_agent(rustix::process::Signal::TERM);
    let after = host.netns.sh(chain);
    assert!(
        !after.contains("tsy") && !after.contains("tapestry"),
        "{after}"
    );
}

#[test]
fn foreign_tables_are_byte_identical_afterwards() {
    let host = beside_docker();
    host.netns.sh(
        "nft add table inet theirs; nft 'add chain inet theirs input { type filter hook input priority 0; }'
         nft add rule inet theirs input tcp dport 22 accept; nft add table ip nat_of_theirs",
    );
    let before = host.netns.sh("nft -s list ruleset");
    // The agent was there before the tables; what counts is what it does to them from here on.
    let foreign = |rules: &str| without_ours(rules);
    host.idle("one", "bridge", &["-p", "8080:80"]);
    host.tapestry(&["network", "create", "mynet"]).ok();
    host.tapestry(&["network", "rm", "mynet"]).ok();
    assert_eq!(
        foreign(&host.netns.sh("nft -s list ruleset")),
        foreign(&before)
    );
    host.tapestry(&["rm", "-f", "one"]).ok();
    host.stop_agent(rustix::process::Signal::TERM);
    assert_eq!(host.netns.sh("nft -s list ruleset"), foreign(&before));
}

#[test]
fn our_rules_sit_in_a_table_of_our_own() {
    let host = Host::start();
    host.idle("one", "bridge", &["-p", "8080:80"]);
    assert_eq!(
        host.netns.sh("nft list tables").trim(),
        "table inet tapestry"
    );
}

#[test]
fn a_flushed_ruleset_is_repaired_within_a_second() {
    let host = Host::start();
    host.idle("one", "bridge", &["-p", "8080:80"]);
    let ping = format!("ping -n -c1 -W1 {OUTSIDE_IP}");
    host.exec("one", &ping).ok();
    for _ in 0..2 {
        let before = host.netns.sh("nft -s list ruleset");
        host.netns.sh("nft flush ruleset");
        eventually(Duration::from_secs(1), "the rules are back", || {
            (host.netns.sh("nft -s list ruleset") == before).then_some(())
        });
        host.exec("one", &ping).ok();
    }
}

#[test]
fn a_deleted_table_is_repaired_within_a_second() {
    let host = Host::start();
    host.idle("one", "bridge", &[]);
    host.netns.sh("nft delete table inet tapestry");
    eventually(Duration::from_secs(1), "the table is back", || {
        host.netns
            .sh("nft list tables")
            .contains("inet tapestry")
            .then_some(())
    });
}

#[test]
fn doctor_names_the_chain_that_drops_what_we_forward() {
    let host = Host::without_agent();
    host.netns.sh("iptables -P FORWARD DROP");
    host.launch();
    let report = host.tapestry(&["doctor"]);
    let told = report
        .stdout
        .lines()
        .any(|line| line.starts_with("warn") && line.contains("chain FORWARD"));
    assert!(told, "{report:?}");
}

#[test]
fn a_later_bridge_on_our_pool_is_told_by_doctor() {
    let host = Host::start();
    host.netns.sh("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up");
    let report = host.tapestry(&["doctor"]);
    assert!(report.stdout.contains("172.17.0.0/16"), "{report:?}");
}

/// A host as Docker leaves it: forwarding dropped unless its own chains say otherwise.
fn beside_docker() -> Host {
    let host = Host::without_agent();
    host.netns.sh(
        "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -I FORWARD -j DOCKER-USER
         iptables -P FORWARD DROP",
    );
    host.launch();
    host
}

/// The ruleset without our table and our rule in `DOCKER-USER`.
fn without_ours(rules: &str) -> String {
    let mut kept = String::new();
    let mut ours = false;
    for line in rules.lines() {
        ours |= line.starts_with("table inet tapestry");
        if !ours && !line.contains("tsy") && !line.contains("tapestry") {
            kept.push_str(line);
            kept.push('\n');
        }
        ours &= line != "}";
    }
    kept
}
