//! A Tapestry agent in a namespace, spoken to over its API.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::time::{Duration, Instant};

use agent_api::{Client, ClientError, EndpointCreate, EndpointSettings, Info};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::Plug;
use crate::command::{Background, require};
use crate::interrupt::{self, eventually};
use crate::netns::Netns;
use crate::process::with_children;
use crate::trouble::Trouble;

/// A running agent. Dropping it ends it and removes its files; its namespace must outlive it.
// Fields drop in order: the process before its files.
pub(super) struct Agent {
    pub(super) client: Client,
    /// Endpoint ids by address.
    endpoints: BTreeMap<Ipv4Addr, String>,
    runtime: Runtime,
    process: Background,
    dir: TempDir,
}

/// What an agent is told in its configuration.
pub(super) struct Settings<'a> {
    /// Lines before the first table.
    pub(super) head: &'a str,
    /// Tables beside `[dns]`.
    pub(super) tables: &'a str,
    /// Lines of the table `[docker]`.
    pub(super) docker: &'a str,
    /// Whom the host asks for names.
    pub(super) name_server: Ipv4Addr,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            head: "",
            tables: "",
            docker: NO_DOCKER,
            name_server: NOBODY,
        }
    }
}

impl Agent {
    /// Starts an agent and waits until it answers.
    pub(super) fn start(netns: &Netns, settings: &Settings<'_>) -> Result<Self, Trouble> {
        let Settings {
            head,
            tables,
            docker,
            name_server,
        } = settings;
        require("nft")?;
        let binary = binary()?;
        let dir = TempDir::with_prefix("tsybench-").map_err(Trouble::io("no scratch directory"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Trouble::io("no runtime"))?;
        let at = |name: &str| dir.path().join(name);
        let resolv_conf = at("resolv.conf");
        let configuration =
            format!("{head}\n[dns]\nresolv_conf = {resolv_conf:?}\n[docker]\n{docker}\n{tables}\n");
        fs::write(&resolv_conf, format!("nameserver {name_server}\n"))
            .and_then(|()| fs::write(at("agent.toml"), configuration))
            .map_err(Trouble::io("cannot write the agent's configuration"))?;
        let mut command = Command::new(binary);
        command.arg("agent").arg("--socket").arg(at("a.sock"));
        command.arg("--state-dir").arg(at("s"));
        command.arg("--config").arg(at("agent.toml"));
        let process = netns.enter(|| Background::start(&mut command, &at("agent.log")))??;
        let mut agent = Self {
            client: Client::new(at("a.sock")),
            endpoints: BTreeMap::new(),
            runtime,
            process,
            dir,
        };
        agent.wait()?;
        Ok(agent)
    }

    fn wait(&mut self) -> Result<(), Trouble> {
        eventually(Duration::from_secs(10), "the agent answers", || {
            if self.process.has_ended() {
                let log = fs::read_to_string(self.dir.path().join("agent.log"));
                return Err(Trouble::Command {
                    command: "tapestry agent".to_owned(),
                    reason: log.unwrap_or_default().trim().to_owned(),
                });
            }
            Ok(self.info().ok())
        })
        .map(drop)
    }

    pub(super) fn info(&self) -> Result<Info, Trouble> {
        self.ask(self.client.info())
    }

    /// The answer to a request of [`Self::client`]. An interruption does not wait for it.
    pub(super) fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        self.runtime.block_on(async {
            let mut request = pin!(request);
            loop {
                interrupt::check()?;
                if let Ok(answer) = tokio::time::timeout(STEP, &mut request).await {
                    return Ok(answer?);
                }
                if Instant::now() > deadline {
                    return Err(Trouble::Late {
                        what: "the agent's answer".to_owned(),
                        limit: PATIENCE,
                    });
                }
            }
        })
    }

    /// The guardian and the agent proper.
    pub(super) fn processes(&self) -> Vec<u32> {
        with_children(self.process.pid())
    }

    pub(super) fn attach(
        &mut self,
        network: &str,
        plug: &Plug<'_>,
        aliases: Vec<String>,
    ) -> Result<(), Trouble> {
        let endpoint = EndpointCreate {
            network: network.to_owned(),
            name: Self::endpoint_name(plug),
            sandbox: Some(plug.netns.path()),
            link: Some(plug.link.to_owned()),
            settings: EndpointSettings {
                ip: Some(plug.address),
                aliases,
                ..EndpointSettings::default()
            },
            ..EndpointCreate::default()
        };
        let made = self.ask(self.client.create_endpoint(&endpoint))?;
        self.endpoints.insert(plug.address, made.id);
        Ok(())
    }

    /// How the endpoint of a plug is called.
    pub(super) fn endpoint_name(plug: &Plug<'_>) -> String {
        format!("s{}", u32::from(plug.address))
    }

    /// The id of the endpoint of a plug.
    pub(super) fn endpoint(&self, plug: &Plug<'_>) -> Result<String, Trouble> {
        let id = self.endpoints.get(&plug.address).cloned();
        id.ok_or_else(|| Trouble::Unsupported(format!("nothing is attached at {}", plug.address)))
    }

    pub(super) fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        if let Some(id) = self.endpoints.remove(&plug.address) {
            self.ask(self.client.remove_endpoint(&id))?;
        }
        Ok(())
    }

    /// Frames that the network's ports have dropped so far. What links have lost is read at the links.
    pub(super) fn drops(&self, network: &str) -> Result<u64, Trouble> {
        let ports = self.ask(self.client.ports(network))?;
        let drops = ports.iter().flat_map(|port| &port.drops);
        let at_switch = drops.filter(|(reason, _)| *reason != "tap_full");
        Ok(at_switch.map(|(_, count)| count).sum())
    }
}

/// The command: `TAPESTRY` where set, else the one beside this program, which has to be as new as its sources.
pub(super) fn binary() -> Result<PathBuf, Trouble> {
    if let Some(named) = std::env::var_os("TAPESTRY") {
        return Ok(named.into());
    }
    let own = std::env::current_exe().map_err(Trouble::io("find this program"))?;
    let built = own.with_file_name("tapestry");
    fresh::check(&built).map_err(Trouble::Unsupported)?;
    Ok(built)
}

/// The machine's own Docker is not the run's.
pub(super) const NO_DOCKER: &str = "plugin = \"off\"";
/// Where no name server is (RFC 5737).
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Between two looks for an interruption.
const STEP: Duration = Duration::from_millis(50);
/// Longer than an agent takes for anything.
const PATIENCE: Duration = Duration::from_secs(60);
