//! Mininet, from Debian's package, in namespaces of its own: it ends programs by their names.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{Graph, Rig, graph, no_stations};
use crate::command::{Background, require};
use crate::contender::open_vswitch::Daemons;
use crate::contender::{Description, Fabric, Plug};
use crate::interrupt::eventually;
use crate::netns::Netns;
use crate::trouble::Trouble;

pub(super) fn start(on_open_vswitch: bool) -> Result<Box<dyn Fabric>, Trouble> {
    for program in ["mn", "brctl"] {
        require(program)?;
    }
    let netns = Netns::new("mn")?;
    let daemons = on_open_vswitch.then(|| Daemons::start(&netns, false));
    Ok(Box::new(Mininet {
        running: None,
        daemons: daemons.transpose()?,
        dir: TempDir::with_prefix("tsyb").map_err(Trouble::io("no scratch directory"))?,
        netns,
    }))
}

// Fields drop in order: programs before their namespace.
struct Mininet {
    running: Option<Background>,
    daemons: Option<Daemons>,
    dir: TempDir,
    netns: Netns,
}

impl Mininet {
    /// What the script has said, or that it has ended too early.
    fn said(&mut self) -> Result<Vec<String>, Trouble> {
        let text = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        if self.running.as_mut().is_none_or(Background::has_ended) {
            let reason = text.lines().last().unwrap_or("ended").to_owned();
            let command = "mininet.py".to_owned();
            return Err(Trouble::Command { command, reason });
        }
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn tell(&mut self, line: &str) -> Result<(), Trouble> {
        let running = self.running.as_mut();
        let input = running.and_then(|running| running.child().stdin.as_mut());
        let input = input.ok_or_else(|| Trouble::Unsupported("mininet is not up".to_owned()))?;
        writeln!(input, "{line}").map_err(Trouble::io("mininet"))
    }
}

/// Only of [`Graph::Hundred`], by which alone it is measured.
impl Rig for Mininet {
    fn up(&mut self, _graph: Graph) -> Result<(), Trouble> {
        let kind = self.daemons.as_ref().map_or("lxbr", |_| "ovs");
        let sizes = [graph::SWITCHES, graph::HOSTS_OF_A_SWITCH, graph::CHAIN];
        let mut command = Command::new("unshare");
        command.args(["-m", "-p", "-f", "--kill-child", "--mount-proc"]);
        command.args([PYTHON, "-c", include_str!("mininet.py"), kind]);
        command.args(sizes.map(|size| size.to_string()));
        if let Some(daemons) = &self.daemons {
            command.env("OVS_RUNDIR", daemons.dir());
        }
        let log = self.dir.path().join("log");
        let _ = fs::remove_file(&log);
        let started = self
            .netns
            .enter(|| Background::start(&mut command, Path::new(&log)))??;
        self.running = Some(started);
        eventually(PATIENCE, "mininet is up", || {
            Ok(self.said()?.iter().any(|line| line == "up").then_some(()))
        })
    }

    fn reaches(&mut self, _graph: Graph) -> Result<(), Trouble> {
        let commands = graph::pings();
        for command in &commands {
            self.tell(command)?;
        }
        let statuses = eventually(PATIENCE, "mininet's hosts answer", || {
            let said = self.said()?;
            let lines = said.into_iter().skip_while(|line| line != "up").skip(1);
            let lines: Vec<String> = lines.collect();
            Ok((lines.len() == commands.len()).then_some(lines))
        })?;
        if statuses.iter().any(|status| status != "0") {
            let reason = format!("statuses {statuses:?} of {commands:?}");
            let command = "mininet.py".to_owned();
            return Err(Trouble::Command { command, reason });
        }
        Ok(())
    }

    fn down(&mut self, _graph: Graph) -> Result<(), Trouble> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        drop(running.child().stdin.take());
        eventually(PATIENCE, "mininet has ended", || {
            Ok(running.has_ended().then_some(()))
        })
    }
}

impl Fabric for Mininet {
    fn attach(&mut self, _plug: &Plug<'_>) -> Result<(), Trouble> {
        Err(no_stations())
    }

    fn detach(&mut self, _plug: &Plug<'_>) -> Result<(), Trouble> {
        Err(no_stations())
    }

    fn processes(&self) -> Vec<u32> {
        self.daemons.iter().map(Daemons::pid).collect()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        Ok(None)
    }

    fn rig(&mut self) -> Option<&mut dyn Rig> {
        Some(self)
    }

    fn describe(&self) -> Description {
        let switches = match self.daemons {
            Some(_) => "Open vSwitch, netdev datapath",
            None => "Linux bridges",
        };
        Description {
            version: "mininet of the distribution".to_owned(),
            setting: format!("{switches}, veth, no controller"),
            offloads: String::new(),
        }
    }
}

/// Debian's, whose packages mininet is among.
const PYTHON: &str = "/usr/bin/python3";
const PATIENCE: Duration = Duration::from_secs(120);
