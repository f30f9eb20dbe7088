//! Nebula from Debian's package: a TUN on each host, and packets of the containers routed into it.

use std::net::Ipv4Addr;
use std::process::Command;

use super::super::{Contender, Fabric, Plan, SUBNET};
use super::Overlay;
use super::daemon::{Daemon, Folder};
use super::routed::Routed;
use super::underlay::Host;
use crate::command::{self, require};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Nebula;

impl Contender for Nebula {
    fn name(&self) -> &'static str {
        "nebula"
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        require("nebula")?;
        require("nebula-cert")?;
        let version = command::run(Command::new("nebula").arg("-version"))?;
        let mtu = plan.underlay.mtu - OVERHEAD;
        let authority = Folder::new()?;
        let mut ca = Command::new("nebula-cert");
        ca.args(["ca", "-name", "bench", "-out-crt"]);
        ca.arg(authority.at(CA)).arg("-out-key");
        command::run(ca.arg(authority.at(CA_KEY)))?;
        let [first, second] = Host::pair(plan.underlay)?;
        let site = |host| start(&authority, host, mtu);
        Ok(Box::new(Overlay::new(
            [site(first)?, site(second)?],
            version.trim().to_owned(),
            "TUN, containers routed, veth; AES-256-GCM; the largest MTU that fits".to_owned(),
        )))
    }
}

fn start(authority: &Folder, host: Host, mtu: u16) -> Result<Routed<()>, Trouble> {
    let folder = Folder::new()?;
    let mut sign = Command::new("nebula-cert");
    sign.args(["sign", "-subnets", SUBNET, "-name"]);
    sign.arg(host.address.to_string());
    sign.arg("-ip").arg(format!("{}/24", inside(host.address)));
    for (option, file) in [("-ca-crt", CA), ("-ca-key", CA_KEY)] {
        sign.arg(option).arg(authority.at(file));
    }
    for (option, file) in [("-out-crt", CERTIFICATE), ("-out-key", KEY)] {
        sign.arg(option).arg(folder.at(file));
    }
    command::run(&mut sign)?;
    folder.write(CONFIG, &config(authority, &folder, &host, mtu))?;
    let mut command = Command::new("nebula");
    command.arg("-config").arg(folder.at(CONFIG));
    let daemon = Daemon::start(&mut command, &host, TUN, folder)?;
    Routed::new(host, (daemon, ()), mtu)
}

fn config(authority: &Folder, folder: &Folder, host: &Host, mtu: u16) -> String {
    let [ca, certificate, key] = [authority.at(CA), folder.at(CERTIFICATE), folder.at(KEY)]
        .map(|path| std::fs::read_to_string(path).unwrap_or_default())
        .map(|text| text.replace('\n', "\n    "));
    let (address, remote) = (host.address, host.remote);
    let peer = inside(remote);
    format!(
        "pki:
  ca: |
    {ca}
  cert: |
    {certificate}
  key: |
    {key}
static_host_map: {{'{peer}': ['{remote}:{PORT}']}}
listen: {{host: {address}, port: {PORT}, batch: 64, read_buffer: {BUFFER}, write_buffer: {BUFFER}}}
tun: {{dev: {TUN}, mtu: {mtu}, tx_queue: 1000, unsafe_routes: [{{route: {SUBNET}, via: {peer}}}]}}
firewall:
  outbound: [{{port: any, proto: any, host: any}}]
  inbound: [{{port: any, proto: any, host: any}}]
"
    )
}

/// What a host has inside of the tunnel.
fn inside(address: Ipv4Addr) -> Ipv4Addr {
    let [.., last] = address.octets();
    Ipv4Addr::new(10, 99, 0, last)
}

const TUN: &str = "nebula1";
const CONFIG: &str = "config.yml";
const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const CERTIFICATE: &str = "host.crt";
const KEY: &str = "host.key";
const PORT: u16 = 4242;
/// As large as the tunnels that it is compared with have them.
const BUFFER: usize = 7 << 20;
/// IPv4, UDP, and Nebula's header and tag.
const OVERHEAD: u16 = 20 + 8 + 16 + 16;
