//! tinc 1.0 from Debian's package, in switch mode: its TAP is a port of a kernel bridge.

use std::fs;
use std::process::Command;

use super::super::{Contender, Fabric, Plan};
use super::Overlay;
use super::bridged::Bridged;
use super::daemon::{Daemon, Folder};
use super::underlay::Host;
use crate::command::{self, require};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Tinc;

impl Contender for Tinc {
    fn name(&self) -> &'static str {
        "tinc"
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        require("tincd")?;
        let version = command::run(Command::new("tincd").arg("--version"))?;
        let [first, second] = Host::pair(plan.underlay)?;
        let (one, two) = (configure(&first)?, configure(&second)?);
        introduce(&first, &one, &two)?;
        introduce(&second, &two, &one)?;
        let sites = [start(first, one)?, start(second, two)?];
        Ok(Box::new(Overlay::new(
            sites,
            version.lines().next().unwrap_or_default().to_owned(),
            "switch mode, TAP in a bridge, veth; AES-256-CBC, SHA-256 by default".to_owned(),
        )))
    }
}

/// The configuration of a host and its key pair.
fn configure(host: &Host) -> Result<Folder, Trouble> {
    let folder = Folder::new()?;
    let [name, peer] = [host.address, host.remote].map(name_of);
    folder.write(
        "tinc.conf",
        &format!("Name = {name}\nMode = switch\nDeviceType = tap\nInterface = {TAP}\nConnectTo = {peer}\n"),
    )?;
    folder.write(&key(&name), &format!("Address = {}\n", host.address))?;
    let mut keys = tincd(&folder);
    command::run(keys.arg(format!("--generate-keys={KEY_BITS}")))?;
    Ok(folder)
}

/// Shows `host`'s public key to the other.
fn introduce(host: &Host, own: &Folder, other: &Folder) -> Result<(), Trouble> {
    let key = key(&name_of(host.address));
    fs::copy(own.at(&key), other.at(&key))
        .map(drop)
        .map_err(Trouble::io(key))
}

fn start(host: Host, folder: Folder) -> Result<Bridged, Trouble> {
    let mut command = tincd(&folder);
    command.arg("--no-detach");
    let pid_file = folder.at("pid").display().to_string();
    command.arg(format!("--pidfile={pid_file}"));
    let daemon = Daemon::start(&mut command, &host, TAP, folder)?;
    Bridged::new(host, Some(daemon), TAP, MTU)
}

fn tincd(folder: &Folder) -> Command {
    let mut command = Command::new("tincd");
    command.arg("--config").arg(folder.at(""));
    command
}

fn name_of(address: std::net::Ipv4Addr) -> String {
    format!("host{}", address.octets()[3])
}

fn key(name: &str) -> String {
    format!("hosts/{name}")
}

const TAP: &str = "tap0";
/// What its TAP has on any underlay; it clamps TCP's MSS to what the path takes.
const MTU: u16 = 1500;
const KEY_BITS: u32 = 2048;
