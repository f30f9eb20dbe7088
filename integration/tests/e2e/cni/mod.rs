//! The command as a CNI plugin, called as the specification has runtimes call it.

mod bandwidth;
mod call;
mod containerd;
mod cri;
mod ipam;
mod libcni;
mod podman;
mod ports;

use std::fs;

use serde_json::json;

pub(crate) use self::call::Call;
use self::call::{answer, failure, with_network};
use crate::harness::{Host, Netns};

#[test]
fn a_container_of_a_runtime_gets_a_seat_and_a_name() {
    let host = with_network();
    let netns = Netns::new("c1");
    let added = Call::add(&netns, "c1")
        .args("IgnoreUnknown=1;K8S_POD_NAME=web;MAC=02:00:00:00:00:05;IP=10.63.0.9");
    let result = answer(&added.make(&host, "ADD"));
    assert_eq!(result["cniVersion"], "1.1.0");
    assert_eq!(
        result["interfaces"],
        json!([{"name": "eth0", "mac": "02:00:00:00:00:05", "sandbox": netns.path(), "mtu": 1500}])
    );
    assert_eq!(
        result["ips"],
        json!([{"address": "10.63.0.9/24", "gateway": "10.63.0.1", "interface": 0}])
    );
    assert_eq!(
        result["routes"],
        json!([{"dst": "0.0.0.0/0", "gw": "10.63.0.1"}])
    );
    assert_eq!(result["dns"]["nameservers"], json!(["10.63.0.1"]));
    // Beside a container of our own, by name and both ways.
    host.idle("ours", "red", &[]);
    host.exec("ours", "ping -n -c1 -W2 web").ok();
    assert!(netns.pings(host.ipv4("ours")));
    let asked = netns.sh("busybox nslookup -type=a ours 10.63.0.1");
    assert!(asked.contains(&host.ipv4("ours").to_string()), "{asked}");
    Call::add(&netns, "c1").make(&host, "DEL").ok();
    assert!(
        host.network("red")
            .endpoints
            .iter()
            .all(|endpoint| endpoint.name == "ours")
    );
}

#[test]
fn a_second_add_fails_and_a_second_del_does_not() {
    let host = with_network();
    let netns = Netns::new("c1");
    let call = || Call::add(&netns, "c1");
    answer(&call().make(&host, "ADD"));
    let refused = failure(&call().make(&host, "ADD"));
    assert_eq!(refused["code"], 100, "{refused}");
    assert_eq!(host.network("red").endpoints.len(), 1);
    // Runtimes name no namespace once it has gone.
    let gone = || Call {
        netns: String::new(),
        ..call()
    };
    assert_eq!(gone().make(&host, "DEL").ok(), "");
    assert!(host.network("red").endpoints.is_empty());
    gone().make(&host, "DEL").ok();
    call().make(&host, "DEL").ok();
    host.tapestry(&["network", "rm", "red"]).ok();
    call().make(&host, "DEL").ok();
}

#[test]
fn a_link_is_gone_when_del_returns_and_another_may_come_at_once() {
    let host = with_network();
    let netns = Netns::new("c1");
    let call = || Call::add(&netns, "c1");
    for _ in 0..10 {
        answer(&call().make(&host, "ADD"));
        call().make(&host, "DEL").ok();
        let links = netns.enter(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        assert!(!links.contains("eth0"), "{links}");
    }
}

#[test]
fn check_finds_whatever_of_the_result_is_gone() {
    let host = with_network();
    let netns = Netns::new("c1");
    let call = || Call::add(&netns, "c1");
    assert_eq!(failure(&call().make(&host, "CHECK"))["code"], 3);
    let result = answer(&call().make(&host, "ADD"));
    assert_eq!(failure(&call().make(&host, "CHECK"))["code"], 7);
    let check = || {
        call()
            .with("prevResult", result.clone())
            .make(&host, "CHECK")
    };
    let loses = |script: &str, named: &str| {
        netns.sh(script);
        let told = failure(&check());
        assert_eq!(told["code"], 100);
        assert!(told["msg"].as_str().unwrap().contains(named), "{told}");
    };
    assert_eq!(check().ok(), "");
    netns.sh("ip addr add 10.99.0.1/24 dev eth0");
    assert_eq!(check().ok(), "", "what others added is theirs");
    loses("ip route del default", "0.0.0.0/0");
    loses("ip addr del 10.63.0.2/24 dev eth0", "10.63.0.2/24");
    loses("ip link set eth0 address 02:00:00:00:00:77", "MAC");
    loses(
        "ip link set eth0 down; ip link set eth0 name other",
        "is gone",
    );
    call().make(&host, "DEL").ok();
}

#[test]
fn gc_takes_what_no_runtime_has_and_nothing_else() {
    let host = with_network();
    let [kept, left, theirs] = ["kept", "left", "theirs"].map(Netns::new);
    answer(&Call::add(&kept, "kept").make(&host, "ADD"));
    answer(&Call::add(&left, "left").make(&host, "ADD"));
    let other = host.endpoint_in("red", "theirs", theirs);
    let refused = failure(&Call::add(&kept, "").make(&host, "GC"));
    assert_eq!(refused["code"], 7, "{refused}");
    let valid = json!([{"containerID": "kept", "ifname": "eth0"}]);
    let collect = Call::add(&kept, "").with("cni.dev/valid-attachments", valid);
    collect.make(&host, "GC").ok();
    let endpoints = host.network("red").endpoints;
    let mut names: Vec<_> = endpoints
        .iter()
        .map(|endpoint| endpoint.name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["kept", "theirs"]);
    Call::add(&kept, "kept").make(&host, "DEL").ok();
    drop(other);
}

#[test]
fn a_container_is_in_the_vlans_that_its_configuration_names() {
    let host = Host::start();
    let create = ["network", "create", "--subnet", "10.63.0.0/24"];
    let aware = ["-o", "vlan=aware", "red"];
    host.tapestry(&[&create[..], &aware].concat()).ok();
    let netns = Netns::new("c1");
    let trunk = json!([{"id": 20}, {"minID": 30, "maxID": 32}]);
    let call = || Call::add(&netns, "c1").with("vlan", json!(10));
    answer(&call().with("vlanTrunk", trunk).make(&host, "ADD"));
    let endpoints = host.network("red").endpoints;
    assert_eq!(endpoints[0].vlan, Some(10));
    assert_eq!(endpoints[0].trunk.as_deref(), Some("20,30-32"));
    call().make(&host, "DEL").ok();
}

#[test]
fn failures_are_in_the_protocols_form_and_nothing_is_made() {
    let host = with_network();
    let netns = Netns::new("c1");
    let code = |call: Call<'_>, command: &str| failure(&call.make(&host, command))["code"].clone();
    let call = || Call::add(&netns, "c1");
    assert_eq!(code(call().with("cniVersion", json!("9.0.0")), "ADD"), 1);
    for (member, value) in [
        ("isGateway", json!(false)),
        ("nework", json!("red")),
        (
            "runtimeConfig",
            json!({"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "sctp"}]}),
        ),
    ] {
        assert_eq!(code(call().with(member, value), "ADD"), 2, "{member}");
    }
    // Known, but not to a network that is unaware of VLANs.
    assert_eq!(code(call().with("vlan", json!(5)), "ADD"), 100);
    assert_eq!(code(call().args("COLOR=red"), "ADD"), 4);
    assert_eq!(code(call(), "UPDATE"), 4);
    assert_eq!(
        code(
            Call {
                netns: String::new(),
                ..call()
            },
            "ADD"
        ),
        4
    );
    assert_eq!(code(call().with("name", json!(5)), "ADD"), 6);
    assert_eq!(code(call().with("name", json!("nonet")), "ADD"), 7);
    assert_eq!(code(call().with("mtu", json!(9000)), "ADD"), 7);
    let nonsense = json!({"bandwidth": {"ingressRate": -1}});
    assert_eq!(code(call().with("runtimeConfig", nonsense), "ADD"), 7);
    assert_eq!(
        code(
            Call {
                netns: "/proc/version".into(),
                ..call()
            },
            "ADD"
        ),
        100
    );
    assert_eq!(
        code(
            Call {
                ifname: "longer_than_a_link".into(),
                ..call()
            },
            "ADD"
        ),
        100
    );
    assert!(host.network("red").endpoints.is_empty());
    assert!(!netns.sh("ip -br link").contains("eth0"));
    // Podman asks before every command, with a word in place of what a call needs.
    let dummy = Call {
        netns: "dummy".into(),
        ifname: "dummy".into(),
        ..call()
    };
    let versions = answer(&dummy.make(&host, "VERSION"));
    assert_eq!(
        versions["supportedVersions"],
        json!(["0.4.0", "1.0.0", "1.1.0"])
    );
    call().make(&host, "STATUS").ok();
    assert_eq!(code(call().with("name", json!("nonet")), "STATUS"), 50);
    let nobody = host.dir().join("nobody.sock");
    assert_eq!(code(call().with("socket", json!(nobody)), "ADD"), 11);
    assert_eq!(code(call().with("socket", json!(nobody)), "STATUS"), 50);
}

#[test]
fn words_of_the_bridge_plugins_hold_where_a_network_is_so() {
    let host = with_network();
    let internal = ["--internal", "--subnet", "10.64.0.0/24", "inner"];
    host.tapestry(&[&["network", "create"], &internal[..]].concat())
        .ok();
    let netns = Netns::new("c1");
    // As podman writes a network, and an internal one.
    for (network, leads_outside) in [("red", true), ("inner", false)] {
        let mut call = Call::add(&netns, "c1").with("network", json!(network));
        for word in ["isGateway", "ipMasq", "isDefaultGateway"] {
            call = call.with(word, json!(leads_outside));
        }
        for word in ["hairpinMode", "macspoofchk"] {
            call = call.with(word, json!(true));
        }
        call = call.with("mtu", json!(1500)).with("ipam", json!({}));
        let result = answer(&call.make(&host, "ADD"));
        assert_eq!(
            result["routes"].as_array().unwrap().is_empty(),
            !leads_outside
        );
        call.make(&host, "DEL").ok();
    }
}
