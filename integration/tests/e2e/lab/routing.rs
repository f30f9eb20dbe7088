//! Labs of routers that find their ways by themselves: FRR of the host, in nodes, over links.

use std::time::Duration;

use super::Lab;
use crate::harness::eventually;

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

/// Of a machine that does much else; 5 s to 11 s are usual.
const LIMIT: Duration = Duration::from_secs(60);
