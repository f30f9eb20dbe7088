//! Links that somebody moved out of their sandbox.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use agent_api::EndpointDetail;
use rustix::process::{Signal, kill_process};

use crate::harness::{Host, Netns, enter, eventually, pings, run};

/// A namespace within a sandbox, by the only process in it.
struct Nested(Child);

impl Nested {
    fn within(sandbox: &Path) -> Self {
        let mut command = Command::new("unshare");
        command.args(["-n", "sleep", "600"]);
        let child = enter(sandbox, || command.spawn()).unwrap();
        let nested = Self(child);
        let outer = std::fs::metadata(sandbox).unwrap();
        eventually(Duration::from_secs(5), "a namespace of its own", || {
            let inner = std::fs::metadata(nested.path()).ok()?;
            (inner.ino() != outer.ino()).then_some(())
        });
        nested
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sh(sandbox: &Path, script: &str) -> String {
    enter(sandbox, || run(Command::new("sh").args(["-ec", script]))).ok()
}

fn links(sandbox: &Path) -> String {
    sh(sandbox, "ip -o link")
}

fn only(host: &Host) -> EndpointDetail {
    let [endpoint] = host.network("lab").endpoints.try_into().unwrap();
    endpoint
}

/// Moves `eth0` and gives it its addresses again, as its owner would.
fn move_link(endpoint: &EndpointDetail, from: &Path, to: &Path, named: &str) {
    sh(from, &format!("ip link set eth0 netns {named}"));
    for address in &endpoint.addresses {
        sh(to, &format!("ip address add {address} dev eth0 nodad"));
    }
    sh(to, "ip link set eth0 up");
}

fn is_there(endpoint: &EndpointDetail, sandbox: &Path, link: &str) {
    assert!(pings(sandbox, endpoint.gateways[0]));
    let shown = sh(
        sandbox,
        &format!("ip -o address show dev {link}; ip link show {link}"),
    );
    for part in endpoint.addresses.iter().map(ToString::to_string) {
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    assert!(shown.contains(&endpoint.mac), "{shown}");
}

#[test]
fn a_link_moved_into_a_nested_namespace_comes_back_there_after_a_restart() {
    let host = Host::start();
    let both = ["--subnet", "10.62.0.0/24", "--subnet", "fd00:62::/64"];
    host.tapestry(&[&["network", "create"], &both[..], &["lab"]].concat())
        .ok();
    host.idle("web", "lab", &[]);
    let outer = host.sandbox("web");
    let nested = Nested::within(&outer);
    let before = only(&host);
    assert!(!before.moved);
    // The first is killed before it can look.
    kill_process(host.agent_pid(), Signal::STOP).unwrap();
    move_link(&before, &outer, &nested.path(), &nested.0.id().to_string());
    for signal in [Signal::KILL, Signal::TERM, Signal::KILL] {
        host.stop_agent(signal);
        host.launch();
        is_there(&before, &nested.path(), "eth0");
        assert!(!links(&outer).contains("eth0"), "{}", links(&outer));
        let after = only(&host);
        assert!(after.moved && after.port.is_some(), "{after:?}");
        assert_eq!(after.addresses, before.addresses);
    }
    // Home again, it comes back at home, as its owner set it up.
    let home = host.pid("web").as_raw_nonzero().to_string();
    move_link(&before, &nested.path(), &outer, &home);
    host.stop_agent(Signal::TERM);
    host.launch();
    is_there(&before, &outer, "eth0");
    assert!(!only(&host).moved);
}

/// Sandboxes that others attach, whose links may have another name where they went.
#[test]
fn a_link_that_was_renamed_where_it_was_moved_to_keeps_that_name() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    let peer = host.endpoint("lab", "peer");
    let nested = Netns::new("nested");
    let before = only(&host);
    // The first is killed before it can look.
    kill_process(host.agent_pid(), Signal::STOP).unwrap();
    move_link(&before, &peer.netns.path(), &nested.path(), nested.name());
    nested.sh("ip link set eth0 down; ip link set eth0 name wan; ip link set wan up");
    for signal in [Signal::KILL, Signal::TERM] {
        host.stop_agent(signal);
        host.launch();
        is_there(&before, &nested.path(), "wan");
        assert_eq!(peer.netns.sh("ip -o link | wc -l").trim(), "1");
    }
}

#[test]
fn a_link_whose_nested_namespace_has_gone_is_not_put_into_the_sandbox() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    host.idle("web", "lab", &[]);
    let outer = host.sandbox("web");
    let nested = Netns::new("nested");
    let before = only(&host);
    move_link(&before, &outer, &nested.path(), nested.name());
    host.stop_agent(Signal::TERM);
    drop(nested);
    for _ in 0..2 {
        host.launch();
        assert!(!links(&outer).contains("eth0"), "{}", links(&outer));
        let after = only(&host);
        assert!(after.moved && after.port.is_none(), "{after:?}");
        let said = host.tapestry(&["doctor"]).stdout;
        for part in ["\"web\"", "\"lab\"", "moved out of its sandbox"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        host.stop_agent(Signal::TERM);
    }
    host.launch();
    // Its addresses stay its own, until it is attached again.
    host.idle("other", "lab", &[]);
    assert_ne!(host.ipv4("other"), before.addresses[0].addr());
    host.tapestry(&["network", "disconnect", "lab", "web"]).ok();
    host.tapestry(&["network", "connect", "lab", "web"]).ok();
    assert!(pings(&outer, before.gateways[0]));
}
