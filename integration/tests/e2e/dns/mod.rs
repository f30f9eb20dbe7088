//! Names: what containers are told by their network's forwarder, and what the world is told about them.

mod basics;
mod compliance;
mod dnssec;
mod forwarding;
mod local;
pub(crate) mod name_server;
mod quic;
mod several;

use std::net::IpAddr;
use std::process::Command;

use crate::harness::{Host, Output, enter, run};

/// A network `lab` with an idle container `client` on it.
pub(crate) struct Lab {
    pub(crate) gateway: IpAddr,
}

impl Lab {
    pub(crate) fn new(host: &Host, options: &[&str]) -> Self {
        host.tapestry(&[&["network", "create"], options, &["lab"]].concat())
            .ok();
        host.idle("client", "lab", &[]);
        let gateway = host.network("lab").gateways[0];
        Self { gateway }
    }

    /// What `dig` prints inside `client`.
    #[track_caller]
    pub(crate) fn dig(&self, host: &Host, arguments: &str) -> String {
        dig(host, "client", self.gateway, arguments).ok()
    }
}

/// One try of `dig` in a container's namespace.
pub(crate) fn dig(host: &Host, container: &str, server: IpAddr, arguments: &str) -> Output {
    let mut command = Command::new("dig");
    command
        .arg(format!("@{server}"))
        .args(["+tries=1", "+time=8", "+nocookie", "+noidnin"])
        .args(arguments.split_whitespace());
    enter(&host.sandbox(container), || run(&mut command))
}

/// Panics unless every word of `expected` (divided by `|`) is in `shown`.
#[track_caller]
pub(crate) fn has(shown: &str, expected: &str) {
    for part in expected.split('|') {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
}
