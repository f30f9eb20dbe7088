//! Addresses that another plugin gives: Debian's `host-local`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::call::{Call, answer, failure, with_network};
use crate::harness::{Host, Netns};

#[test]
fn another_plugin_gives_addresses_and_gets_them_back() {
    let host = with_network();
    let netns = Netns::new("c1");
    let call = || of_host_local(&host, &netns, "c1", "10.63.0.0/24");
    let result = answer(&call().make(&host, "ADD"));
    assert_eq!(result["ips"][0]["address"], "10.63.0.2/24");
    assert_eq!(leases(&host), ["10.63.0.2"]);
    assert!(netns.sh("ip -4 addr show eth0").contains("10.63.0.2/24"));
    // A second ADD leaves the first one's lease alone.
    let twice = failure(&call().make(&host, "ADD"));
    assert!(
        twice["msg"].as_str().unwrap().contains("already"),
        "{twice}"
    );
    let check = || {
        call()
            .with("prevResult", result.clone())
            .make(&host, "CHECK")
    };
    check().ok();
    fs::remove_file(lease_dir(&host).join("10.63.0.2")).unwrap();
    let lost = failure(&check());
    assert!(
        lost["msg"]
            .as_str()
            .unwrap()
            .starts_with("ipam host-local: "),
        "{lost}"
    );
    call().make(&host, "DEL").ok();
    let again = answer(&call().make(&host, "ADD"));
    assert_eq!(again["ips"][0]["address"], "10.63.0.3/24");
    for _ in 0..2 {
        call().make(&host, "DEL").ok();
        assert!(leases(&host).is_empty());
    }
    assert!(host.network("red").endpoints.is_empty());
}

#[test]
fn a_given_address_that_cannot_be_had_goes_back() {
    let host = with_network();
    let netns = Netns::new("c1");
    let refused = |call: Call<'_>| {
        let told = failure(&call.make(&host, "ADD"));
        assert!(leases(&host).is_empty(), "{told}");
        assert!(host.network("red").endpoints.is_empty(), "{told}");
        told["msg"].as_str().unwrap().to_owned()
    };
    let outside = refused(of_host_local(&host, &netns, "c1", "10.99.0.0/24"));
    assert!(outside.contains("10.63.0.0/24"), "{outside}");
    let gone = Call {
        netns: "/run/netns/none".into(),
        ..of_host_local(&host, &netns, "c1", "10.63.0.0/24")
    };
    refused(gone);
    let unknown = Call::add(&netns, "c1").with("ipam", json!({"type": "nobody"}));
    assert!(refused(unknown).contains("CNI_PATH="));
    let itself = || Call::add(&netns, "c1").with("ipam", json!({"type": "tapestry"}));
    assert!(refused(itself()).starts_with("ipam: "));
    itself().make(&host, "DEL").ok();
    // The network's own.
    host.idle("ours", "red", &["--ip", "10.63.0.4"]);
    let call =
        || of_host_local(&host, &netns, "c1", "10.63.0.0/24").args("IP=10.63.0.4;IgnoreUnknown=1");
    let taken = failure(&call().make(&host, "ADD"));
    assert!(
        taken["msg"].as_str().unwrap().contains("10.63.0.4"),
        "{taken}"
    );
    assert!(leases(&host).is_empty());
}

#[test]
fn whoever_gives_addresses_hears_every_command() {
    let host = with_network();
    let netns = Netns::new("c1");
    let heard = host.dir().join("heard");
    // It gives whatever IP= says, or fails as the specification has plugins fail.
    let script = format!(
        r#"#!/bin/sh
        cat >/dev/null; echo "$CNI_COMMAND" >>{}
        [ "$CNI_COMMAND" = ADD ] || exit 0
        case $CNI_ARGS in IP=*) echo '{{"ips": [{{"address": "'${{CNI_ARGS#IP=}}'/24"}}]}}';;
        *) echo '{{"code": 11, "msg": "none left", "details": "come back"}}'; exit 1;; esac"#,
        heard.display()
    );
    let plugin = host.dir().join("given");
    fs::write(&plugin, script).unwrap();
    fs::set_permissions(&plugin, Permissions::from_mode(0o755)).unwrap();
    let call = || Call::add(&netns, "c1").with("ipam", json!({"type": "given"}));
    let none_left = failure(&call().make(&host, "ADD"));
    assert_eq!(none_left["code"], 11);
    assert_eq!(none_left["msg"], "ipam given: none left; come back");
    call().make(&host, "STATUS").ok();
    let result = answer(&call().args("IP=10.63.0.9").make(&host, "ADD"));
    assert_eq!(result["ips"][0]["address"], "10.63.0.9/24");
    call().with("prevResult", result).make(&host, "CHECK").ok();
    call()
        .with("cni.dev/valid-attachments", json!([]))
        .make(&host, "GC")
        .ok();
    call().make(&host, "DEL").ok();
    let heard = fs::read_to_string(heard).unwrap();
    assert_eq!(heard, "ADD\nSTATUS\nADD\nCHECK\nGC\nDEL\n");
}

fn of_host_local<'n>(host: &Host, netns: &Netns, container: &'n str, subnet: &str) -> Call<'n> {
    let ipam: Value = json!({"type": "host-local", "dataDir": host.dir().join("leases"),
        "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]});
    let call = Call::add(netns, container).with("ipam", ipam);
    // Debian's plugins speak no later version.
    call.with("cniVersion", json!("1.0.0"))
}

fn leases(host: &Host) -> Vec<String> {
    let files = fs::read_dir(lease_dir(host))
        .into_iter()
        .flatten()
        .flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    // Beside them host-local keeps a lock and what it gave last.
    names.filter(|name| name.starts_with("10.")).collect()
}

fn lease_dir(host: &Host) -> PathBuf {
    host.dir().join("leases/red")
}
