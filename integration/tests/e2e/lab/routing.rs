//! Labs of routers that find their ways by themselves, and of switches that find each other: the host's FRR and Open vSwitch, in nodes.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::Lab;
use crate::harness::{binary, eventually};

/// Until a router has a route by a protocol, over so many ways.
#[track_caller]
fn learns(lab: &Lab, router: &str, net: &str, protocol: &str, ways: usize) {
    let has = || {
        let route = lab.sh(router, &format!("ip route show {net}")).ok();
        let is_learnt = route.contains(&format!("proto {protocol}"));
        (is_learnt && route.matches(" via ").count() == ways).then_some(())
    };
    let what = format!("{router} has {ways} ways to {net} by {protocol}");
    eventually(LIMIT, &what, has);
}

#[test]
fn a_fabric_of_bgp_converges_and_carries_on_without_a_spine() {
    let lab = Lab::copy_of("leaf-spine");
    lab.run("up", &[]).ok();
    learns(&lab, "leaf1", "10.9.2.0/24", "bgp", 2);
    learns(&lab, "leaf2", "10.9.1.0/24", "bgp", 2);
    lab.pings("host1", "10.9.2.2");
    // Over the other one.
    for leaf in ["clab-clos-leaf1", "clab-clos-leaf2"] {
        lab.host.tapestry(&["link", "down", leaf, "eth1"]).ok();
    }
    learns(&lab, "leaf1", "10.9.2.0/24", "bgp", 1);
    learns(&lab, "leaf2", "10.9.1.0/24", "bgp", 1);
    lab.pings("host1", "10.9.2.2");
    lab.down();
}

#[test]
fn katharas_routers_of_ospf_converge() {
    let lab = Lab::copy_of("ospf");
    lab.run("up", &[]).ok();
    learns(&lab, "r1", "10.0.4.0/24", "ospf", 1);
    learns(&lab, "r3", "10.0.1.0/24", "ospf", 1);
    lab.pings("pc1", "10.0.4.10");
    lab.down();
}

/// Until both members of a bond of Open vSwitch are as they are to be.
#[track_caller]
fn bonds(lab: &Lab, switch: &str, members: [(&str, bool); 2]) {
    let are = || {
        let shown = lab.sh(switch, "ovs-appctl lacp/show").ok();
        let is = |(member, is_on): &(&str, bool)| {
            let of_it = shown.split(&format!("member: {member}: ")).nth(1);
            let on = of_it.and_then(|text| text.split("may_enable: ").nth(1));
            on.is_some_and(|on| on.starts_with(&is_on.to_string()))
        };
        let is_negotiated = shown.contains("status: active negotiated");
        (is_negotiated && members.iter().all(is)).then_some(())
    };
    eventually(LIMIT, &format!("{switch} has {members:?} in its bond"), are);
}

#[test]
fn switches_bond_two_links_by_lacp_and_notice_that_one_is_silent() {
    let lab = Lab::copy_of("lacp");
    lab.run("up", &[]).ok();
    for switch in ["s1", "s2"] {
        bonds(&lab, switch, [("eth1", true), ("eth2", true)]);
    }
    lab.pings("s1", "10.0.0.2");
    // The carrier stays, so that only LACP tells.
    let file = lab.at.join("lacp.clab.yml");
    let link = "    - endpoints: [\"s1:eth1\", \"s2:eth1\"]\n";
    let text = fs::read_to_string(&file).unwrap();
    let silent = text.replace(link, &format!("{link}      vars: {{loss: 100}}\n"));
    fs::write(&file, silent).unwrap();
    lab.run("up", &[]).ok();
    for switch in ["s1", "s2"] {
        bonds(&lab, switch, [("eth1", false), ("eth2", true)]);
    }
    lab.pings("s1", "10.0.0.2");
    lab.down();
}

/// Brings one of the labs up and has its own script look whether it does what it should.
#[track_caller]
fn verifies(name: &str) {
    let lab = Lab::copy_of(name);
    lab.run("up", &[]).ok();
    let tapestry = binary();
    let path = std::env::var("PATH").unwrap();
    let mut script = Command::new("sh");
    script
        .arg(lab.at.join("verify.sh"))
        .env(
            "PATH",
            format!("{}:{path}", tapestry.parent().unwrap().display()),
        )
        .env("TAPESTRY_SOCKET", lab.host.socket());
    lab.host.netns.run(&mut script).ok();
    lab.down();
}

#[test]
fn switches_keep_one_of_two_links_silent_by_rstp() {
    verifies("rstp");
}

#[test]
fn routers_of_isis_converge() {
    verifies("isis");
}

#[test]
fn routers_take_an_address_over_by_vrrp() {
    verifies("vrrp");
}

/// Of a machine that does much else; 5 s to 11 s are usual.
const LIMIT: Duration = Duration::from_secs(60);
