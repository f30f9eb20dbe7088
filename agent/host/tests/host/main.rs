//! The host plumbing against a real kernel: links, packet filter and published ports in network namespaces of its own.
//!
//! Needs root, `ip`, `nft` and `iptables`, and fails without them.

#![allow(
    clippy::unwrap_used,
    reason = "the lint's exception covers tests, not what they share"
)]

mod conntrack;
mod firewall;
mod ingress;
mod links;
mod traffic;

use std::net::IpAddr;
use std::process::Command;

use agent_host::Netns;
use nix::sched::{CloneFlags, unshare};

/// A namespace that ends with the test.
fn netns() -> Netns {
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let netns = Netns::current().unwrap();
        run("ip link set lo up");
        netns
    })
    .join()
    .unwrap()
}

/// Runs a program in the calling thread's namespace and returns what it printed.
fn run(command: &str) -> String {
    let (success, printed) = try_run(command);
    assert!(success, "{command}: {printed}");
    printed
}

fn try_run(command: &str) -> (bool, String) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    let mut printed = String::from_utf8(output.stdout).unwrap();
    printed.push_str(&String::from_utf8(output.stderr).unwrap());
    (output.status.success(), printed)
}

/// Runs `work` in the namespace.
fn within<T: Send>(netns: &Netns, work: impl FnOnce() -> T + Send) -> T {
    netns.run(work).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
