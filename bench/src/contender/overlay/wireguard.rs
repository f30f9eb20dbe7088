//! wireguard-go from Debian's package: a TUN on each host, and packets of the containers routed into it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::super::{Contender, Fabric, Plan, SUBNET};
use super::Overlay;
use super::daemon::{Daemon, Folder};
use super::routed::Routed;
use super::underlay::Host;
use crate::command::{self, require};
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
        let (one, two) = (Tunnel::start(first)?, Tunnel::start(second)?);
        one.meet(&two.public_key()?)?;
        two.meet(&one.public_key()?)?;
        let sites = [one.route(mtu)?, two.route(mtu)?];
        Ok(Box::new(Overlay::new(
            sites,
            version.lines().next().unwrap_or_default().to_owned(),
            "TUN, containers routed, veth; MTU as wg-quick sets it".to_owned(),
        )))
    }
}

/// The program on a host.
struct Tunnel {
    daemon: Daemon,
    socket: Socket,
    link: String,
    host: Host,
}

impl Tunnel {
    /// Starts it with a new key; it knows nobody yet.
    fn start(host: Host) -> Result<Self, Trouble> {
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
        Ok(Self {
            daemon,
            socket,
            link,
            host,
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

    fn route(self, mtu: u16) -> Result<Routed<Socket>, Trouble> {
        let host = &self.host;
        host.ip(&format!("link set {} mtu {mtu} up", self.link))?;
        host.ip(&format!("route add {SUBNET} dev {}", self.link))?;
        Routed::new(self.host, (self.daemon, self.socket), mtu)
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
