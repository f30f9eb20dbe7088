//! What ports are kept from, and access lists: while frames flow, and over restarts.

use std::time::Duration;

use agent_api::{FdbEntryView, FdbKind};
use switch_core::Mac;

use crate::harness::{Endpoint, Host, eventually};
use crate::packets::{PLAIN, contains, ethernet, receive, receive_within};

const STEP: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(300);
/// IEEE 802 "local experimental 1".
const EXPERIMENTAL: u16 = 0x88b5;
/// Of no endpoint: behind a bridge inside of a container.
const BEHIND: Mac = Mac::new([0x0a, 0, 0, 0, 0, 1]);

#[test]
fn a_port_is_locked_isolated_and_guarded_and_stations_are_configured_over_restarts() {
    let host = Host::start();
    let options = ["-o", "bpdu_guard=on", "-o", "storm_broadcast=100"];
    let create = [&["network", "create"][..], &options, &["lab"]].concat();
    host.tapestry(&create).ok();
    let [web, db] = ["web", "db"].map(|name| host.endpoint("lab", name));
    let (web_wire, db_wire) = (web.wire(), db.wire());
    let send = |source: Mac, mark: u8| {
        let frame = ethernet(db.mac(), source, EXPERIMENTAL, &[mark; 46]);
        web_wire.send(&PLAIN, &frame).unwrap();
    };
    let hears = |source: Mac, mark: u8| {
        send(source, mark);
        receive(&db_wire, |frame| contains(frame, &[mark; 46])).unwrap();
    };
    let misses = |source: Mac, mark: u8| {
        send(source, mark);
        let heard = receive_within(&db_wire, QUIET, |frame| contains(frame, &[mark; 46]));
        assert!(heard.is_none(), "{source} is heard, {mark}");
    };
    hears(BEHIND, 1);
    host.tapestry(&["port", "set", "web", "lab", "locked=on", "learn_limit=8"])
        .ok();
    // What was learned before is forgotten; its own MAC is configured.
    misses(BEHIND, 2);
    assert_eq!(web.drops("locked_port"), 1);
    hears(web.mac(), 3);
    let behind = BEHIND.to_string();
    host.tapestry(&["fdb", "add", "lab", &behind, "web"]).ok();
    hears(BEHIND, 4);
    let own = host.tapestry(&["fdb", "add", "lab", &web.mac().to_string(), "db"]);
    assert_ne!(own.status, 0);
    assert!(own.stderr.contains("is web's own"), "{}", own.stderr);
    host.kill_agent_proper();
    let is_there = || (entry(&host)?.kind == FdbKind::Static).then_some(());
    eventually(STEP, "the station is there again", is_there);
    hears(BEHIND, 5);
    misses(Mac::new([0x0a, 9, 9, 9, 9, 9]), 6);
    let shown = host.tapestry(&["port", "show", "web"]).ok();
    assert!(shown.contains("locked") && shown.contains("/8"), "{shown}");
    host.tapestry(&["fdb", "rm", "lab", &behind]).ok();
    misses(BEHIND, 7);
    host.tapestry(&["port", "set", "web", "locked=off"]).ok();
    for name in ["web", "db"] {
        host.tapestry(&["port", "set", name, "isolated=on"]).ok();
    }
    misses(web.mac(), 8);
    host.tapestry(&["port", "set", "db", "isolated=off"]).ok();
    hears(web.mac(), 9);
    blocked_by_a_bpdu(&host, &web);
    hears(web.mac(), 10);
}

fn blocked_by_a_bpdu(host: &Host, web: &Endpoint<'_>) {
    let bridges = Mac::new([1, 0x80, 0xc2, 0, 0, 0]);
    let bpdu = ethernet(
        bridges,
        web.mac(),
        38,
        &[&[0x42, 0x42, 3][..], &[0; 43]].concat(),
    );
    web.wire().send(&PLAIN, &bpdu).unwrap();
    let state = || {
        let ports = host.ports("lab");
        let port = ports.into_iter().find(|port| port.owner == "web").unwrap();
        port.state
    };
    let is_blocked = || (state() == "blocked (bpdu guard)").then_some(());
    eventually(STEP, "the port is blocked", is_blocked);
    host.tapestry(&["port", "set", "web", "up"]).ok();
    assert_eq!(state(), "up");
}

fn entry(host: &Host) -> Option<FdbEntryView> {
    let entries: Vec<FdbEntryView> = host.api("GET", "/v1/networks/lab/fdb", None).ok();
    let mut entries = entries.into_iter();
    entries.find(|entry| entry.mac == BEHIND.to_string())
}

#[test]
fn an_access_list_holds_at_once_for_who_comes_later_and_over_restarts() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    host.idle("web", "lab", &["--label", "tier=front"]);
    host.idle("db", "lab", &[]);
    let reaches = |from: &str, to: &str| {
        let script = format!("ping -n -c1 -W5 {}", host.ipv4(to));
        host.exec(from, &script).status == 0
    };
    let misses = |from: &str, to: &str| {
        let script = format!("ping -n -c1 -W1 {}", host.ipv4(to));
        host.exec(from, &script).status != 0
    };
    assert!(reaches("web", "db"));
    let deny = "deny from label:tier=front to name:db proto icmp icmp-type 8";
    let rule: Vec<_> = deny.split(' ').collect();
    let added = host
        .tapestry(&[&["acl", "add", "lab"], &rule[..]].concat())
        .ok();
    assert_eq!(added.trim(), "10");
    assert!(misses("web", "db"), "denied from the next frame on");
    assert!(reaches("db", "web"), "in this direction only");
    let trace = host
        .tapestry(&["trace", "lab", "--from", "web", "--to", "db"])
        .ok();
    assert!(
        trace.contains("rule 10, `deny from label:tier=front"),
        "{trace}"
    );
    assert!(trace.contains("acl, counted at"), "{trace}");
    host.idle("late", "lab", &["--label", "tier=front"]);
    assert!(misses("late", "db"), "who comes later is of its class");
    host.tapestry(&["acl", "label", "late", "tier=back"]).ok();
    assert!(reaches("late", "db"), "its labels are others");
    host.kill_agent_proper();
    assert!(misses("web", "db") && reaches("late", "db"), "restarted");
    host.tapestry(&["agent", "--replace"]).ok();
    assert!(misses("web", "db") && reaches("late", "db"), "upgraded");
    let listed = host.tapestry(&["acl", "ls", "lab"]).ok();
    assert!(listed.contains(deny), "{listed}");
    host.tapestry(&["acl", "default", "lab", "deny"]).ok();
    assert!(misses("late", "db"), "nothing but what is allowed");
    let allow = [
        "allow",
        "from",
        "name:late",
        "to",
        "name:db",
        "proto",
        "icmp",
    ];
    let add = [&["acl", "add", "--both", "lab"][..], &allow].concat();
    host.tapestry(&add).ok();
    assert!(reaches("late", "db") && reaches("db", "late"), "both ways");
    host.tapestry(&["acl", "rm", "lab", "10", "20"]).ok();
    host.tapestry(&["acl", "default", "lab", "allow"]).ok();
    assert!(reaches("web", "db"));
    let drops = host.network("lab").drops;
    assert!(
        drops.get("acl").copied().unwrap_or_default() > 0,
        "{drops:?}"
    );
}
