//! The agent: labs from files, and stations whose links wear what is asked for.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use agent_api::{Impairment, LinkUpdate, NetworkCreate, RateSettings, RateUpdate};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Graph, Rig, fat_tree, graph};
use crate::command::{self, Background};
use crate::contender::agent::{Agent, Settings, binary};
use crate::contender::{
    Captured, Capturing, Description, Fabric, GATEWAY, Layers, Plan, Plug, SUBNET, parsed,
};
use crate::interrupt::eventually;
use crate::netns::Netns;
use crate::trouble::Trouble;

pub(super) fn start(plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
    let netns = Netns::new("lab")?;
    let agent = Agent::start(&netns, &Settings::default())?;
    Ok(Box::new(Tapestry {
        version: agent.info()?.version,
        agent,
        mtu: plan.mtu,
        has_network: false,
        dir: TempDir::with_prefix("tsyb").map_err(Trouble::io("no scratch directory"))?,
        _netns: netns,
    }))
}

// Fields drop in order: the agent before its namespace.
struct Tapestry {
    agent: Agent,
    version: String,
    mtu: u16,
    /// The stations' own is there.
    has_network: bool,
    dir: TempDir,
    _netns: Netns,
}

impl Tapestry {
    fn command(&self) -> Result<Command, Trouble> {
        let mut command = Command::new(binary()?);
        command.arg("--socket").arg(self.agent.client.socket());
        Ok(command)
    }

    fn lab(&self, verb: &str, graph: Graph, more: &[&str]) -> Result<String, Trouble> {
        let mut command = self.command()?;
        command.args(["lab", verb]).arg(self.file(graph)?);
        command::run(command.args(more))
    }

    fn file(&self, graph: Graph) -> Result<PathBuf, Trouble> {
        let (name, text): (_, fn() -> String) = match graph {
            Graph::Hundred => ("bench.clab.yml", graph::clab_file),
            Graph::FatTree => ("fat.clab.yml", fat_tree::clab_file),
        };
        let file = self.dir.path().join(name);
        if !file.exists() {
            fs::write(&file, text()).map_err(Trouble::io(name))?;
        }
        Ok(file)
    }

    fn exec(&self, graph: Graph, node: &str, script: &str) -> Result<(), Trouble> {
        let words = [node, "--", "sh", "-c", script];
        self.lab("exec", graph, &words).map(drop)
    }

    /// Where curl reads the metrics.
    fn metrics(&self) -> String {
        let socket = self.agent.client.socket();
        format!("--unix-socket {} http://agent/metrics", socket.display())
    }

    fn create_network(&mut self) -> Result<(), Trouble> {
        if std::mem::replace(&mut self.has_network, true) {
            return Ok(());
        }
        let network = NetworkCreate {
            name: NETWORK.to_owned(),
            subnets: vec![parsed(SUBNET)?],
            gateways: vec![GATEWAY.into()],
            mtu: Some(self.mtu),
            ..NetworkCreate::default()
        };
        let made = self.agent.ask(self.agent.client.create_network(&network));
        made.map(drop)
    }
}

impl Rig for Tapestry {
    fn up(&mut self, graph: Graph) -> Result<(), Trouble> {
        self.file(graph)?;
        self.lab("up", graph, &[]).map(drop)
    }

    fn reaches(&mut self, graph: Graph) -> Result<(), Trouble> {
        let pings: Vec<(String, String)> = match graph {
            Graph::Hundred => {
                let pings = graph::pings().into_iter();
                pings.map(|script| ("h0".to_owned(), script)).collect()
            }
            Graph::FatTree => fat_tree::pings(),
        };
        for (node, script) in &pings {
            self.exec(graph, node, script)?;
        }
        Ok(())
    }

    fn down(&mut self, graph: Graph) -> Result<(), Trouble> {
        self.lab("down", graph, &[]).map(drop)
    }
}

impl Layers for Tapestry {
    fn capture(
        &mut self,
        plug: &Plug<'_>,
        snaplen: Option<u32>,
    ) -> Result<Box<dyn Capturing>, Trouble> {
        let dir = TempDir::with_prefix("tsyb").map_err(Trouble::io("no scratch directory"))?;
        let target = format!("{NETWORK}:{}", Agent::endpoint_name(plug));
        let mut command = self.command()?;
        command.args(["capture", &target, "-C", RING_SIZE, "-W", RING_FILES]);
        if let Some(bytes) = snaplen {
            command.args(["-s", &bytes.to_string()]);
        }
        command.arg("-w").arg(dir.path().join("pcapng"));
        let mut process = Background::start(&mut command, &dir.path().join("log"))?;
        eventually(PATIENCE, "the capture begins", || {
            let said = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            if process.has_ended() {
                let command = "tapestry capture".to_owned();
                return Err(Trouble::Command {
                    command,
                    reason: said,
                });
            }
            Ok(said.starts_with("capturing ").then_some(()))
        })?;
        Ok(Box::new(Capture { process, dir }))
    }

    fn sample(&mut self, every: u32) -> Result<Background, Trouble> {
        let dir = TempDir::with_prefix("tsyb").map_err(Trouble::io("no scratch directory"))?;
        let mut command = self.command()?;
        command.args([
            "flows",
            NETWORK,
            "--live",
            "--json",
            "--sample",
            &every.to_string(),
        ]);
        let log = dir.path().join("log");
        let process = Background::start(&mut command, &log)?;
        eventually(PATIENCE, "frames are sampled", || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            Ok(said.contains("\"samples\":").then_some(()))
        })?;
        Ok(process)
    }

    fn observe(&mut self) -> Result<Vec<Background>, Trouble> {
        let log = self.dir.path().join("observed");
        let mut events = self.command()?;
        let mut scrapes = Command::new("sh");
        scrapes.args([
            "-c",
            &format!(
                "while curl -sf -o /dev/null {}; do sleep 1; done",
                self.metrics()
            ),
        ]);
        [events.args(["events", "--json"]), &mut scrapes]
            .map(|command| Background::start(command, &log))
            .into_iter()
            .collect()
    }

    fn scrape(&mut self) -> Result<Duration, Trouble> {
        let mut command = Command::new("curl");
        command.args(["-sf", "-o", "/dev/null", "-w", "%{time_total}"]);
        let said = command::run(command.args(self.metrics().split(' ')))?;
        parsed(&said).map(Duration::from_secs_f64)
    }

    fn impair(&mut self, plug: &Plug<'_>, words: Option<(&str, &str)>) -> Result<(), Trouble> {
        let (rate, delay) = words.unzip();
        let to = Impairment {
            rate: rate.map(parsed).transpose()?,
            delay: delay.map(parsed).transpose()?,
            ..Impairment::default()
        };
        let update = LinkUpdate {
            to: Some(to),
            ..LinkUpdate::default()
        };
        let id = self.agent.endpoint(plug)?;
        let changed = self.agent.ask(self.agent.client.update_link(&id, &update));
        changed.map(drop)
    }

    fn limit(&mut self, plug: &Plug<'_>, rate: Option<&str>) -> Result<(), Trouble> {
        let settings = match rate {
            Some(rate) => RateSettings {
                ingress_rate: Some(parsed(rate)?),
                ..RateSettings::default()
            },
            None => RateSettings::default(),
        };
        let update = RateUpdate {
            reset: true,
            settings,
        };
        let id = self.agent.endpoint(plug)?;
        let changed = self.agent.ask(self.agent.client.update_rate(&id, &update));
        changed.map(drop)
    }
}

impl Fabric for Tapestry {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.create_network()?;
        self.agent.attach(NETWORK, plug, Vec::new())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.agent.detach(plug)
    }

    fn processes(&self) -> Vec<u32> {
        self.agent.processes()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        match self.has_network {
            true => self.agent.drops(NETWORK).map(Some),
            false => Ok(None),
        }
    }

    fn rig(&mut self) -> Option<&mut dyn Rig> {
        Some(self)
    }

    fn layers(&mut self) -> Option<&mut dyn Layers> {
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

struct Capture {
    process: Background,
    dir: TempDir,
}

impl Capturing for Capture {
    fn end(mut self: Box<Self>) -> Result<Captured, Trouble> {
        self.process.signal(Signal::INT);
        eventually(PATIENCE, "the capture ends", || {
            Ok(self.process.has_ended().then_some(()))
        })?;
        let said = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let last = said.lines().last().unwrap_or_default();
        counts(last).ok_or_else(|| Trouble::Command {
            command: "tapestry capture".to_owned(),
            reason: last.to_owned(),
        })
    }
}

/// Of `7 frames captured, 0 lost by the capture`.
fn counts(said: &str) -> Option<Captured> {
    let (taken, rest) = said.split_once(" frames captured, ")?;
    let lost = rest.strip_suffix(" lost by the capture")?;
    Some(Captured {
        taken: taken.parse().ok()?,
        lost: lost.parse().ok()?,
    })
}

const NETWORK: &str = "bench";
/// Millions of bytes in a file, and files that take turns: no disk is waited for.
const RING_SIZE: &str = "100";
const RING_FILES: &str = "2";
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_capture_says_at_its_end_is_understood() {
        let said = "2000 frames captured, 12 lost by the capture";
        let counted = Captured {
            taken: 2000,
            lost: 12,
        };
        assert_eq!(counts(said), Some(counted));
        assert_eq!(counts("capturing bench:s1; ^C ends it"), None);
    }
}
