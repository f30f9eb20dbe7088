//! Labs: one graph, brought up by the agent from a file, and by mininet on Linux bridges or Open vSwitch.

mod graph;
mod mininet;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::agent::{Agent, Settings, binary};
use super::{Contender, Description, Fabric, Plan, Plug};
use crate::command;
use crate::netns::Netns;
use crate::trouble::Trouble;

/// What brings the graph up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labs {
    Tapestry,
    MininetBridge,
    MininetOvs,
}

/// A graph that can be brought up and taken down.
pub(crate) trait Rig {
    /// Brings all of it up, from the start of the program to the moment when it says that it is done.
    fn up(&mut self) -> Result<(), Trouble>;

    /// Whether a host reaches another one over a switch, and a third one over their link.
    fn reaches(&mut self) -> Result<(), Trouble>;

    /// Takes all of it away.
    fn down(&mut self) -> Result<(), Trouble>;
}

impl Contender for Labs {
    fn name(&self) -> &'static str {
        match self {
            Self::Tapestry => "tapestry",
            Self::MininetBridge => "mininet",
            Self::MininetOvs => "mininet-ovs",
        }
    }

    fn start(&self, _plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        match self {
            Self::Tapestry => Tapestry::start(),
            Self::MininetBridge => mininet::start(false),
            Self::MininetOvs => mininet::start(true),
        }
    }
}

// Fields drop in order: the agent before its namespace.
struct Tapestry {
    agent: Agent,
    version: String,
    file: PathBuf,
    _dir: TempDir,
    _netns: Netns,
}

impl Tapestry {
    fn start() -> Result<Box<dyn Fabric>, Trouble> {
        let netns = Netns::new("lab")?;
        let agent = Agent::start(&netns, &Settings::default())?;
        let dir = TempDir::with_prefix("tsyb").map_err(Trouble::io("no scratch directory"))?;
        let file = dir.path().join("bench.clab.yml");
        fs::write(&file, graph::clab_file()).map_err(Trouble::io("bench.clab.yml"))?;
        Ok(Box::new(Self {
            version: agent.info()?.version,
            agent,
            file,
            _dir: dir,
            _netns: netns,
        }))
    }

    fn lab(&self, verb: &str, more: &[&str]) -> Result<String, Trouble> {
        let mut command = Command::new(binary()?);
        command.arg("--socket").arg(self.agent.client.socket());
        command.args(["lab", verb]).arg(&self.file).args(more);
        command::run(&mut command)
    }
}

impl Rig for Tapestry {
    fn up(&mut self) -> Result<(), Trouble> {
        self.lab("up", &[]).map(drop)
    }

    fn reaches(&mut self) -> Result<(), Trouble> {
        for command in graph::pings() {
            let script = ["h0", "--", "sh", "-c", &command];
            self.lab("exec", &script)?;
        }
        Ok(())
    }

    fn down(&mut self) -> Result<(), Trouble> {
        self.lab("down", &[]).map(drop)
    }
}

impl Fabric for Tapestry {
    fn attach(&mut self, _plug: &Plug<'_>) -> Result<(), Trouble> {
        Err(no_stations())
    }

    fn detach(&mut self, _plug: &Plug<'_>) -> Result<(), Trouble> {
        Err(no_stations())
    }

    fn processes(&self) -> Vec<u32> {
        self.agent.processes()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        Ok(None)
    }

    fn rig(&mut self) -> Option<&mut dyn Rig> {
        Some(self)
    }

    fn describe(&self) -> Description {
        Description {
            version: format!("tapestry {}", self.version),
            setting: "tapestry lab up, containerlab's format, nodes without images".to_owned(),
            offloads: String::new(),
        }
    }
}

fn no_stations() -> Trouble {
    Trouble::Unsupported("a lab makes its nodes itself".to_owned())
}
