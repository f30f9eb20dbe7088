//! A CNI plugin on one host, called as runtimes call it: by environment, with its configuration on standard input.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_api::NetworkCreate;
use serde_json::json;
use tempfile::TempDir;

use super::Network;
use crate::command;
use crate::contender::agent::{Agent, Settings, binary};
use crate::contender::{Description, Fabric, GATEWAY, Plug, SUBNET, parsed};
use crate::netns::Netns;
use crate::trouble::Trouble;

pub(super) fn start(network: Network) -> Result<Box<dyn Fabric>, Trouble> {
    let netns = Netns::new("cni")?;
    let dir = TempDir::with_prefix("tsyb").map_err(Trouble::io("no scratch directory"))?;
    let (agent, plugin, config) = match network {
        Network::Native => (None, Path::new(PLUGINS).join("bridge"), bridge(dir.path())),
        Network::Tapestry => {
            let agent = Agent::start(&netns, &Settings::default())?;
            create(&agent)?;
            let socket = agent.client.socket().to_owned();
            let config =
                json!({"cniVersion": VERSION, "name": NAME, "type": "tapestry", "socket": socket});
            (Some(agent), binary()?, config)
        }
    };
    if !plugin.exists() {
        let program = plugin.display().to_string();
        return Err(Trouble::NotInstalled { program });
    }
    let file = dir.path().join("config.json");
    fs::write(&file, config.to_string()).map_err(Trouble::io("config.json"))?;
    Ok(Box::new(Running {
        plugin,
        config: file,
        agent,
        netns,
        _dir: dir,
    }))
}

/// The bridge plugin, with addresses by host-local.
fn bridge(dir: &Path) -> serde_json::Value {
    json!({"cniVersion": VERSION, "name": NAME, "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "subnet": SUBNET, "dataDir": dir.join("leases")}})
}

fn create(agent: &Agent) -> Result<(), Trouble> {
    let network = NetworkCreate {
        name: NAME.to_owned(),
        subnets: vec![parsed(SUBNET)?],
        gateways: vec![GATEWAY.into()],
        ..NetworkCreate::default()
    };
    agent.ask(agent.client.create_network(&network)).map(drop)
}

// Fields drop in order: the agent before its namespace.
struct Running {
    plugin: PathBuf,
    config: PathBuf,
    agent: Option<Agent>,
    netns: Netns,
    _dir: TempDir,
}

impl Running {
    fn call(&self, word: &str, plug: &Plug<'_>) -> Result<(), Trouble> {
        let config = File::open(&self.config).map_err(Trouble::io("config.json"))?;
        let mut command = Command::new(&self.plugin);
        command
            .env("CNI_COMMAND", word)
            .env("CNI_CONTAINERID", plug.netns.name())
            .env("CNI_NETNS", plug.netns.path())
            .env("CNI_IFNAME", plug.link)
            .env("CNI_PATH", PLUGINS);
        self.netns
            .enter(|| command::run_with(&mut command, config))??;
        Ok(())
    }
}

impl Fabric for Running {
    /// The plugin chooses the address.
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.call("ADD", plug)
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.call("DEL", plug)
    }

    fn processes(&self) -> Vec<u32> {
        self.agent.iter().flat_map(Agent::processes).collect()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        self.agent
            .as_ref()
            .map(|agent| agent.drops(NAME))
            .transpose()
    }

    fn describe(&self) -> Description {
        let (version, setting) = match &self.agent {
            Some(agent) => {
                let version = agent.info().map(|info| info.version);
                (
                    format!("tapestry {}", version.unwrap_or_default()),
                    "the command",
                )
            }
            None => (
                "CNI plugins of the distribution".to_owned(),
                "bridge, host-local",
            ),
        };
        Description {
            version,
            setting: setting.to_owned(),
            offloads: String::new(),
        }
    }
}

/// Where Debian has them.
const PLUGINS: &str = "/usr/lib/cni";
const NAME: &str = "bench";
const VERSION: &str = "1.0.0";
