//! Open vSwitch with its userspace (netdev) datapath over veth, from Debian's package, started by hand.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::bridge::veth;
use super::{Contender, Description, Fabric, Plan, Plug, offloads_of};
use crate::command::{self, Background, require};
use crate::counters::link_drops;
use crate::interrupt::eventually;
use crate::netns::Netns;
use crate::trouble::Trouble;

/// One way to run it.
#[derive(Debug)]
pub(crate) struct OpenVswitch {
    pub(crate) name: &'static str,
    /// `userspace-tso-enable`: superframes pass. Without it the stations' links must not make any.
    pub(crate) tso: bool,
}

impl Contender for OpenVswitch {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        require("ethtool")?;
        let netns = Netns::new("ovs")?;
        let daemons = Daemons::start(&netns, self.tso)?;
        daemons.add_bridge("br0")?;
        Ok(Box::new(Running {
            version: daemons.version()?,
            daemons,
            netns,
            tso: self.tso,
            mtu: plan.mtu,
            offloads: String::new(),
        }))
    }
}

// Fields drop in order: the daemons before their namespace.
struct Running {
    version: String,
    daemons: Daemons,
    netns: Netns,
    tso: bool,
    mtu: u16,
    offloads: String,
}

impl Fabric for Running {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let near = veth::near_end(plug);
        veth::join(&self.netns, &near, plug, self.mtu)?;
        veth::in_namespace(&self.netns, &format!("link set {near} up"))?;
        if !self.tso {
            // What arrives without a vnet header must be whole and small.
            let mut off = Command::new("ethtool");
            off.args(["-K", plug.link, "tx", "off"]);
            plug.netns.enter(|| command::run(&mut off))??;
        }
        let request = format!("mtu_request={}", self.mtu);
        let add = [
            "add-port",
            "br0",
            &near,
            "--",
            "set",
            "interface",
            &near,
            &request,
        ];
        self.daemons.ask(&add)?;
        if self.offloads.is_empty() {
            self.offloads = offloads_of(plug.netns, plug.link);
        }
        Ok(())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let near = veth::near_end(plug);
        self.daemons.ask(&["del-port", "br0", &near])?;
        veth::in_namespace(&self.netns, &format!("link del {near}"))
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.daemons.pid()]
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        link_drops(&self.netns).map(Some)
    }

    fn describe(&self) -> Description {
        let tso = if self.tso { "on" } else { "off" };
        Description {
            version: self.version.clone(),
            setting: format!("netdev datapath, veth, userspace-tso-enable {tso}"),
            offloads: self.offloads.clone(),
        }
    }
}

/// The suite's programs in one namespace. Dropping them ends them.
// Fields drop in order: the switch before its database, both before their files.
pub(super) struct Daemons {
    switch: Background,
    _database: Background,
    dir: TempDir,
}

impl Daemons {
    /// Starts them with an empty database.
    pub(super) fn start(netns: &Netns, tso: bool) -> Result<Self, Trouble> {
        for program in ["ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl"] {
            require(program)?;
        }
        let dir = TempDir::with_prefix("tsybench-").map_err(Trouble::io("no scratch directory"))?;
        let at = |name: &str| dir.path().join(name);
        let mut create = tool("ovsdb-tool", dir.path());
        command::run(create.arg("create").arg(at("db")).arg(SCHEMA))?;
        let database = netns.enter(|| {
            let mut server = tool("ovsdb-server", dir.path());
            server
                .arg(at("db"))
                .arg(format!("--remote=punix:{}", at("db.sock").display()));
            server.arg(format!("--unixctl={}", at("db.ctl").display()));
            Background::start(&mut server, &at("ovsdb.log"))
        })??;
        eventually(Duration::from_secs(5), "ovsdb-server listens", || {
            Ok(at("db.sock").exists().then_some(()))
        })?;
        ask(dir.path(), &["--no-wait", "init"])?;
        if tso {
            let key = "other_config:userspace-tso-enable=true";
            ask(dir.path(), &["--no-wait", "set", "Open_vSwitch", ".", key])?;
        }
        let switch = netns.enter(|| {
            let mut switch = tool("ovs-vswitchd", dir.path());
            switch.arg(format!("unix:{}", at("db.sock").display()));
            switch.arg(format!("--unixctl={}", at("vs.ctl").display()));
            Background::start(&mut switch, &at("vswitchd.log"))
        })??;
        Ok(Self {
            switch,
            _database: database,
            dir,
        })
    }

    /// Adds a bridge of the userspace datapath.
    pub(super) fn add_bridge(&self, name: &str) -> Result<(), Trouble> {
        let make = ["add-br", name, "--", "set", "bridge", name];
        self.ask(&[&make[..], &["datapath_type=netdev"]].concat())
    }

    /// `ovs-vsctl` with these arguments; the switch has done it when this returns.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<(), Trouble> {
        ask(self.dir.path(), arguments).map(drop)
    }

    /// Where its sockets are, as `OVS_RUNDIR`.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process that switches.
    pub(super) fn pid(&self) -> u32 {
        self.switch.pid()
    }

    pub(super) fn version(&self) -> Result<String, Trouble> {
        let text = command::run(Command::new("ovs-vswitchd").arg("--version"))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

fn ask(dir: &Path, arguments: &[&str]) -> Result<String, Trouble> {
    let mut command = tool("ovs-vsctl", dir);
    command.arg("--timeout=15");
    command.arg(format!("--db=unix:{}", dir.join("db.sock").display()));
    command::run(command.args(arguments))
}

/// A program of the suite that keeps everything of its own below `dir`.
fn tool(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    for key in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"] {
        command.env(key, dir);
    }
    command
}

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
