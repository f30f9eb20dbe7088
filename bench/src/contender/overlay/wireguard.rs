//! wireguard-go from Debian's package: a TUN on each host, and packets of the containers routed into it.
//!
//! It carries packets, no frames. Each host answers ARP for the other's containers, so theirs may be of one subnet.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::super::bridge::veth;
use super::super::{Contender, Fabric, GATEWAY, Plan, Plug, SUBNET};
use super::daemon::{Daemon, Folder};
use super::underlay::Host;
use super::{Overlay, Site};
use crate::command::{self, require};
use crate::counters::link_drops;
use crate::interrupt::eventually;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct WireguardGo;

impl Contender for WireguardGo {
    fn name(&self) -> &'static str {
        "wireguard-go"
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        require("wireguard-go")?;
        require("wg")?;
        let version = command::run(Command::new("wireguard-go").arg("--version"))?;
        let mtu = plan.underlay.mtu - OVERHEAD;
        let [first, second] = Host::pair(plan.underlay)?;
        let sites = [Routed::start(first, mtu)?, Routed::start(second, mtu)?];
        let [one, two] = &sites;
        one.meet(&two.public_key()?)?;
        two.meet(&one.public_key()?)?;
        Ok(Box::new(Overlay::new(
            sites,
            version.lines().next().unwrap_or_default().to_owned(),
            "TUN, containers routed, veth; MTU as wg-quick sets it".to_owned(),
        )))
    }
}

// Fields drop in order: the program before its socket and its namespace.
struct Routed {
    daemon: Daemon,
    _socket: Socket,
    link: String,
    host: Host,
    mtu: u16,
}

impl Routed {
    /// Starts the program with a new key; it knows nobody yet.
    fn start(host: Host, mtu: u16) -> Result<Self, Trouble> {
        // Its socket lies in a directory that all namespaces share.
        let link = format!("w{}-{}", std::process::id(), host.address.octets()[3]);
        let folder = Folder::new()?;
        let key = command::run(Command::new("wg").arg("genkey"))?;
        folder.write("key", &key)?;
        let key = folder.at("key");
        let socket = Socket(PathBuf::from(format!("/run/wireguard/{link}.sock")));
        let mut command = Command::new("wireguard-go");
        command.args(["--foreground", &link]);
        let daemon = Daemon::start(&mut command, &host, &link, folder)?;
        eventually(Duration::from_secs(5), "wireguard-go listens", || {
            Ok(socket.0.exists().then_some(()))
        })?;
        let mut set = Command::new("wg");
        set.args(["set", &link, "listen-port", PORT, "private-key"]);
        host.run(set.arg(key))?;
        host.netns.set("ipv4/ip_forward", "1")?;
        host.ip(&format!("link set {link} mtu {mtu} up"))?;
        host.ip(&format!("route add {SUBNET} dev {link}"))?;
        Ok(Self {
            daemon,
            _socket: socket,
            link,
            host,
            mtu,
        })
    }

    fn public_key(&self) -> Result<String, Trouble> {
        let mut show = Command::new("wg");
        show.args(["show", &self.link, "public-key"]);
        Ok(self.host.run(&mut show)?.trim().to_owned())
    }

    /// Lets the other host's containers send, and be sent to.
    fn meet(&self, key: &str) -> Result<(), Trouble> {
        let endpoint = format!("{}:{PORT}", self.host.remote);
        let mut set = Command::new("wg");
        set.args(["set", &self.link, "peer", key, "endpoint", &endpoint]);
        set.args(["allowed-ips", SUBNET]);
        self.host.run(&mut set).map(drop)
    }
}

impl Site for Routed {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let near = veth::near_end(plug);
        veth::join(&self.host.netns, &near, plug, self.mtu)?;
        let netns = &self.host.netns;
        netns.set(&format!("ipv4/conf/{near}/proxy_arp"), "1")?;
        netns.set(&format!("ipv4/neigh/{near}/proxy_delay"), "0")?;
        self.host.ip(&format!("addr add {GATEWAY}/32 dev {near}"))?;
        self.host.ip(&format!("link set {near} up"))?;
        self.host
            .ip(&format!("route add {}/32 dev {near}", plug.address))
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.host.ip(&format!("link del {}", veth::near_end(plug)))
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.daemon.pid()]
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        link_drops(&self.host.netns).map(Some)
    }
}

/// The program's socket, which it leaves behind when it is killed.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const PORT: &str = "51820";
/// What wg-quick(8) takes off the underlay's MTU: IPv6, UDP, and WireGuard's header and tag.
const OVERHEAD: u16 = 80;
