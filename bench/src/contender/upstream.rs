//! The rest of the world, as far as names go: dnsmasq in a namespace of its own, with a hundred foreign names.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::Plug;
use super::bridge::veth;
use crate::command::{Background, require};
use crate::interrupt::eventually;
use crate::names::{FOREIGN_NAMES, foreign_name};
use crate::netns::Netns;
use crate::trouble::Trouble;

/// Runs until it is dropped. Fields drop in order: the program before its files and its namespace.
#[derive(Debug)]
pub(super) struct Upstream {
    _server: Background,
    _dir: TempDir,
    _netns: Netns,
}

impl Upstream {
    pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 78, 255, 2);

    /// Starts it beside `fabric`, which reaches it over a veth pair.
    pub(super) fn start(fabric: &Netns) -> Result<Self, Trouble> {
        let netns = Netns::new("upstream")?;
        let plug = Plug {
            netns: &netns,
            link: "eth0",
            address: Self::ADDRESS,
        };
        let near = veth::near_end(&plug);
        veth::join(fabric, &near, &plug, 1500)?;
        veth::in_namespace(fabric, &format!("addr add {NEAR}/16 dev {near}"))?;
        veth::in_namespace(fabric, &format!("link set {near} up"))?;
        let records = (0..FOREIGN_NAMES).map(|index| {
            let name = foreign_name(index);
            format!("--host-record={name},192.0.2.{index}")
        });
        let mut command = dnsmasq(Self::ADDRESS)?;
        command.args(["--local-ttl=600", "--no-resolv"]);
        command.args(records);
        let dir = TempDir::with_prefix("tsybench-").map_err(Trouble::io("no scratch directory"))?;
        let log = dir.path().join("log");
        let server = netns.enter(|| Background::start(&mut command, &log))??;
        listens(&netns, "the upstream dnsmasq")?;
        Ok(Self {
            _server: server,
            _dir: dir,
            _netns: netns,
        })
    }
}

/// dnsmasq in the foreground on `address`, without anything that the host configures.
pub(super) fn dnsmasq(address: Ipv4Addr) -> Result<Command, Trouble> {
    require("dnsmasq")?;
    let mut command = Command::new("dnsmasq");
    command.args([
        "--conf-file=/dev/null",
        "--no-hosts",
        "--keep-in-foreground",
    ]);
    command.args(["--bind-interfaces", "--user=root", "--pid-file="]);
    command.arg(format!("--listen-address={address}"));
    Ok(command)
}

/// Waits until somebody in `netns` has UDP port 53.
pub(super) fn listens(netns: &Netns, who: &str) -> Result<(), Trouble> {
    eventually(Duration::from_secs(5), &format!("{who} listens"), || {
        Ok(netns.read("udp")?.contains(PORT_53).then_some(()))
    })
}

/// As /proc/net/udp writes it, behind the address.
const PORT_53: &str = ":0035 ";
/// The fabric's end of the pair.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 78, 255, 1);
