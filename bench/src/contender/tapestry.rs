//! Tapestry itself, as it ships: an agent, a network with its gateway, endpoints attached through the API.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use agent_api::{Client, EndpointCreate, EndpointSettings, NetworkCreate};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::upstream::Upstream;
use super::{Contender, Description, Fabric, GATEWAY, Plan, Plug, SUBNET, address_of, offloads_of};
use crate::command::{Background, require};
use crate::dnsperf::{LOCAL_NAMES, NAMES_STATION, local_name};
use crate::interrupt::eventually;
use crate::netns::Netns;
use crate::trouble::Trouble;

/// One way to run it.
#[derive(Debug)]
pub(crate) struct Tapestry {
    pub(crate) name: &'static str,
    /// `auto`, `uring` or `epoll`.
    pub(crate) engine: &'static str,
    /// `offload` or `basic`.
    pub(crate) tap: &'static str,
    /// With an upstream name server, and names on the station that has them.
    pub(crate) names: bool,
}

impl Contender for Tapestry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        require("nft")?;
        let binary = binary()?;
        let netns = Netns::new("tapestry")?;
        let dir = TempDir::with_prefix("tsybench-").map_err(Trouble::io("no scratch directory"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Trouble::io("no runtime"))?;
        let at = |name: &str| dir.path().join(name);
        let upstream = self.names.then(|| Upstream::start(&netns)).transpose()?;
        let server = upstream.as_ref().map_or(NOBODY, |_| Upstream::ADDRESS);
        fs::write(at("resolv.conf"), format!("nameserver {server}\n"))
            .and_then(|()| fs::write(at("agent.toml"), self.configuration(&at("resolv.conf"))))
            .map_err(Trouble::io("cannot write the agent's configuration"))?;
        let mut command = Command::new(binary);
        command.arg("agent").arg("--socket").arg(at("a.sock"));
        command.arg("--state-dir").arg(at("s"));
        command.arg("--config").arg(at("agent.toml"));
        let agent = netns.enter(|| Background::start(&mut command, &at("agent.log")))??;
        let mut running = Running {
            client: Client::new(at("a.sock")),
            setting: String::new(),
            version: String::new(),
            offloads: String::new(),
            endpoints: BTreeMap::new(),
            runtime,
            agent,
            dir,
            upstream,
            _netns: netns,
        };
        running.wait()?;
        running.create_network(self.tap, plan.mtu)?;
        Ok(Box::new(running))
    }
}

impl Tapestry {
    fn configuration(&self, resolv_conf: &std::path::Path) -> String {
        format!(
            "engine = {:?}\n[dns]\nresolv_conf = {resolv_conf:?}\n",
            self.engine
        )
    }
}

// Fields drop in order: the agent before its files and its namespace.
struct Running {
    client: Client,
    version: String,
    setting: String,
    offloads: String,
    /// Endpoint ids by address.
    endpoints: BTreeMap<IpAddr, String>,
    runtime: Runtime,
    agent: Background,
    dir: TempDir,
    upstream: Option<Upstream>,
    _netns: Netns,
}

impl Running {
    fn wait(&mut self) -> Result<(), Trouble> {
        let info = eventually(Duration::from_secs(10), "the agent answers", || {
            if self.agent.has_ended() {
                let log = fs::read_to_string(self.dir.path().join("agent.log"));
                return Err(Trouble::Command {
                    command: "tapestry agent".to_owned(),
                    reason: log.unwrap_or_default().trim().to_owned(),
                });
            }
            Ok(self.runtime.block_on(self.client.info()).ok())
        })?;
        self.version = info.version;
        self.setting = format!("{}, {} worker(s)", info.engine, info.workers);
        Ok(())
    }

    fn create_network(&mut self, tap: &str, mtu: u16) -> Result<(), Trouble> {
        let subnet = SUBNET.parse().map_err(|error| unparsable(SUBNET, error))?;
        let network = NetworkCreate {
            name: NETWORK.to_owned(),
            subnets: vec![subnet],
            gateways: vec![GATEWAY.into()],
            mtu: Some(mtu),
            options: BTreeMap::from([("tap".to_owned(), tap.to_owned())]),
            ..NetworkCreate::default()
        };
        self.runtime
            .block_on(self.client.create_network(&network))?;
        self.setting = format!("{}, {tap} TAPs", self.setting);
        Ok(())
    }

    fn aliases(&self, address: Ipv4Addr) -> Vec<String> {
        if self.upstream.is_some() && address == address_of(NAMES_STATION) {
            (0..LOCAL_NAMES).map(local_name).collect()
        } else {
            Vec::new()
        }
    }
}

impl Fabric for Running {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let endpoint = EndpointCreate {
            network: NETWORK.to_owned(),
            name: format!("s{}", u32::from(plug.address)),
            sandbox: plug.netns.path(),
            link: Some(plug.link.to_owned()),
            settings: EndpointSettings {
                ip: Some(plug.address),
                aliases: self.aliases(plug.address),
                ..EndpointSettings::default()
            },
        };
        let made = self
            .runtime
            .block_on(self.client.create_endpoint(&endpoint))?;
        self.endpoints.insert(plug.address.into(), made.id);
        if self.offloads.is_empty() {
            self.offloads = offloads_of(plug.netns, plug.link);
        }
        Ok(())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        if let Some(id) = self.endpoints.remove(&plug.address.into()) {
            self.runtime.block_on(self.client.remove_endpoint(&id))?;
        }
        Ok(())
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.agent.pid()]
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        let ports = self.runtime.block_on(self.client.ports(NETWORK))?;
        Ok(Some(
            ports.iter().flat_map(|port| port.drops.values()).sum(),
        ))
    }

    fn describe(&self) -> Description {
        Description {
            version: format!("tapestry {}", self.version),
            setting: self.setting.clone(),
            offloads: self.offloads.clone(),
        }
    }
}

/// The command: `TAPESTRY` where set, else the one beside this program.
fn binary() -> Result<PathBuf, Trouble> {
    let built = std::env::var_os("TAPESTRY").map(PathBuf::from);
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.join("tapestry"))
    };
    built
        .or_else(beside)
        .filter(|path| path.exists())
        .ok_or_else(|| Trouble::Unsupported(MISSING.to_owned()))
}

fn unparsable(text: &str, error: impl std::fmt::Display) -> Trouble {
    Trouble::Unsupported(format!("{text}: {error}"))
}

/// Where no name server is (RFC 5737).
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NETWORK: &str = "bench";
const MISSING: &str = "the command `tapestry` is not beside this program; build it with the same profile: \
                       cargo build --release -p tapestry, or name it with TAPESTRY=";
