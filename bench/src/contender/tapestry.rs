//! Tapestry itself, as it ships: an agent, a network with its gateway, endpoints attached through the API.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use agent_api::NetworkCreate;

use super::agent::{Agent, Settings};
use super::upstream::Upstream;
use super::{
    Contender, Description, Fabric, GATEWAY, Plan, Plug, SUBNET, address_of, offloads_of, parsed,
};
use crate::names::{LOCAL_NAMES, NAMES_STATION, local_name};
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
    /// Datagrams may be joined (`-o join=udp`); measured by what that is for, single small ones.
    pub(crate) joins_udp: bool,
    /// With an upstream name server, and names on the station that has them.
    pub(crate) names: bool,
}

impl Contender for Tapestry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn enters(&self, row: &str) -> bool {
        !self.joins_udp || row == "udp-64"
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        let netns = Netns::new("tapestry")?;
        let upstream = self.names.then(|| Upstream::start(&netns)).transpose()?;
        let mut settings = Settings::default();
        let head = format!("engine = {:?}", self.engine);
        settings.head = &head;
        if upstream.is_some() {
            settings.name_server = Upstream::ADDRESS;
        }
        let agent = Agent::start(&netns, &settings)?;
        let info = agent.info()?;
        self.create_network(&agent, plan.mtu)?;
        Ok(Box::new(Running {
            version: info.version,
            setting: format!(
                "{}, {} worker(s), {} TAPs{}",
                info.engine,
                info.workers,
                self.tap,
                if self.joins_udp { ", join=udp" } else { "" }
            ),
            offloads: String::new(),
            agent,
            upstream,
            _netns: netns,
        }))
    }
}

impl Tapestry {
    fn create_network(&self, agent: &Agent, mtu: u16) -> Result<(), Trouble> {
        let mut options = BTreeMap::from([("tap".to_owned(), self.tap.to_owned())]);
        if self.joins_udp {
            options.insert("join".to_owned(), "udp".to_owned());
        }
        let network = NetworkCreate {
            name: NETWORK.to_owned(),
            subnets: vec![parsed(SUBNET)?],
            gateways: vec![GATEWAY.into()],
            mtu: Some(mtu),
            options,
            ..NetworkCreate::default()
        };
        agent.ask(agent.client.create_network(&network)).map(drop)
    }
}

// Fields drop in order: the agent before its namespace.
struct Running {
    version: String,
    setting: String,
    offloads: String,
    agent: Agent,
    upstream: Option<Upstream>,
    _netns: Netns,
}

impl Running {
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
        let aliases = self.aliases(plug.address);
        self.agent.attach(NETWORK, plug, aliases)?;
        if self.offloads.is_empty() {
            self.offloads = offloads_of(plug.netns, plug.link);
        }
        Ok(())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.agent.detach(plug)
    }

    fn processes(&self) -> Vec<u32> {
        self.agent.processes()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        self.agent.drops(NETWORK).map(Some)
    }

    fn describe(&self) -> Description {
        Description {
            version: format!("tapestry {}", self.version),
            setting: self.setting.clone(),
            offloads: self.offloads.clone(),
        }
    }
}

const NETWORK: &str = "bench";
