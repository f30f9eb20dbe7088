//! Tapestry itself, as it ships: an agent, a network with its gateway, endpoints attached through the API.

use std::collections::BTreeMap;

use agent_api::NetworkCreate;

use super::agent::Agent;
use super::{Contender, Description, Fabric, GATEWAY, Plan, Plug, SUBNET, offloads_of, parsed};
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
}

impl Contender for Tapestry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        let netns = Netns::new("tapestry")?;
        let agent = Agent::start(&netns, &format!("engine = {:?}", self.engine), "")?;
        let info = agent.info()?;
        create_network(&agent, self.tap, plan.mtu)?;
        Ok(Box::new(Running {
            version: info.version,
            setting: format!(
                "{}, {} worker(s), {} TAPs",
                info.engine, info.workers, self.tap
            ),
            offloads: String::new(),
            agent,
            _netns: netns,
        }))
    }
}

fn create_network(agent: &Agent, tap: &str, mtu: u16) -> Result<(), Trouble> {
    let network = NetworkCreate {
        name: NETWORK.to_owned(),
        subnets: vec![parsed(SUBNET)?],
        gateways: vec![parsed(GATEWAY)?],
        mtu: Some(mtu),
        options: BTreeMap::from([("tap".to_owned(), tap.to_owned())]),
        ..NetworkCreate::default()
    };
    agent.ask(agent.client.create_network(&network)).map(drop)
}

// Fields drop in order: the agent before its namespace.
struct Running {
    version: String,
    setting: String,
    offloads: String,
    agent: Agent,
    _netns: Netns,
}

impl Fabric for Running {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.agent.attach(NETWORK, plug)?;
        if self.offloads.is_empty() {
            self.offloads = offloads_of(plug.netns, plug.link);
        }
        Ok(())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.agent.detach(plug)
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.agent.pid()]
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
