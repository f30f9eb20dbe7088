//! VDE 2: `vde_switch`, and one `vde_plug2tap` a port inside the station's namespace.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::bridge::veth::in_namespace;
use super::{Contender, Description, Fabric, PREFIX_LEN, Plan, Plug, offloads_of};
use crate::command::{self, Background, require};
use crate::counters::has_link;
use crate::interrupt::eventually;
use crate::netns::Netns;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Vde;

impl Contender for Vde {
    fn name(&self) -> &'static str {
        "vde"
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        require("vde_switch")?;
        require("vde_plug2tap")?;
        let netns = Netns::new("vde")?;
        let dir = TempDir::with_prefix("tsybench-").map_err(Trouble::io("no scratch directory"))?;
        let mut command = Command::new("vde_switch");
        command.arg("-s").arg(dir.path().join("vde"));
        command.args(["-n", &(plan.ports + SPARE_PORTS).to_string()]);
        let log = dir.path().join("switch.log");
        let switch = netns.enter(|| Background::start(&mut command, &log))??;
        let socket = dir.path().join("vde/ctl");
        eventually(Duration::from_secs(5), "vde_switch listens", || {
            Ok(socket.exists().then_some(()))
        })?;
        let version = command::run(Command::new("vde_switch").arg("--version"))?;
        Ok(Box::new(Running {
            plugs: BTreeMap::new(),
            switch,
            dir,
            _netns: netns,
            mtu: plan.mtu,
            version: version.lines().next().unwrap_or_default().to_owned(),
            offloads: String::new(),
        }))
    }
}

// Fields drop in order: the plugs before the switch.
struct Running {
    plugs: BTreeMap<Ipv4Addr, Background>,
    switch: Background,
    dir: TempDir,
    _netns: Netns,
    mtu: u16,
    version: String,
    offloads: String,
}

impl Fabric for Running {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let mut command = Command::new("vde_plug2tap");
        command
            .arg("-s")
            .arg(self.dir.path().join("vde"))
            .arg(plug.link);
        let log = self.dir.path().join("plugs.log");
        let mut program = plug
            .netns
            .enter(|| Background::start(&mut command, &log))??;
        eventually(Duration::from_secs(5), "vde_plug2tap makes its TAP", || {
            if program.has_ended() {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(Trouble::Command {
                    command: "vde_plug2tap".to_owned(),
                    reason: said.lines().last().unwrap_or("ended").to_owned(),
                });
            }
            Ok(has_link(plug.netns, plug.link)?.then_some(()))
        })?;
        let link = plug.link;
        in_namespace(
            plug.netns,
            &format!("addr add {}/{PREFIX_LEN} dev {link}", plug.address),
        )?;
        in_namespace(plug.netns, &format!("link set {link} mtu {} up", self.mtu))?;
        self.plugs.insert(plug.address, program);
        if self.offloads.is_empty() {
            self.offloads = offloads_of(plug.netns, plug.link);
        }
        Ok(())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.plugs.remove(&plug.address);
        Ok(())
    }

    fn processes(&self) -> Vec<u32> {
        let plugs = self.plugs.values().map(Background::pid);
        plugs.chain([self.switch.pid()]).collect()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        Ok(None)
    }

    fn reader_of(&self, plug: &Plug<'_>) -> Option<u32> {
        self.plugs.get(&plug.address).map(Background::pid)
    }

    fn describe(&self) -> Description {
        Description {
            version: self.version.clone(),
            setting: "vde_switch, vde_plug2tap".to_owned(),
            offloads: self.offloads.clone(),
        }
    }
}

const SPARE_PORTS: usize = 8;
